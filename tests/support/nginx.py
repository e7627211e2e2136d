"""An nginx of its own for a test, with `deploy/nginx.conf` or what a test makes of it."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_MAIN = """daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, site: str) -> Iterator[None]:
    """Run nginx with a file of conf.d until the end of the block; skip the test where nginx is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    folder.mkdir()
    main = folder / "nginx.conf"
    (folder / "site.conf").write_text(site)
    main.write_text(_MAIN.format(folder=folder, user="user root;" if os.getuid() == 0 else ""))
    words = [program, "-p", str(folder), "-c", str(main), "-e", str(folder / "error.log")]
    checked = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False, timeout=30)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    (folder / "nginx.pid").unlink(missing_ok=True)  # the check leaves one
    with subprocess.Popen(words) as process:
        deadline = time.monotonic() + 30
        while not (folder / "nginx.pid").exists():
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield
        finally:
            process.terminate()
