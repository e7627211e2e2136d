"""Scripts that tests run in a page that uses client/js."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.browser import CHROMIUM

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

PowFetch = Callable[..., Any]
# The outcome: the answer, or the error with its response's status; and the progress that was reported.
FETCH = """
    const { powFetch } = await import(module);
    const progress = [];
    const outcome = { error: null, status: null, text: null, progress };
    try {
      const onProgress = (report) => progress.push([report.found, report.count, report.seconds, report.secondsLeft]);
      const answer = await powFetch(url, { method: "POST", body: "payload", key: "k", onProgress, ...options });
      Object.assign(outcome, { status: answer.status, text: await answer.text() });
    } catch (error) {
      Object.assign(outcome, { error: error.name, text: error.message, status: error.response?.status ?? null });
    }
    return outcome;
"""
