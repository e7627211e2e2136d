"""Proof-of-work authentication for TorchServe's gRPC API. In this example, `target`, `key` and `image` are yours, and
the two modules are those that grpc_tools.protoc makes of TorchServe's inference.proto:

    import grpc
    from calpow.client.grpc import PowInterceptor
    from inference_pb2 import PredictionsRequest
    from inference_pb2_grpc import InferenceAPIsServiceStub

    with grpc.insecure_channel(target) as channel:
        stub = InferenceAPIsServiceStub(grpc.intercept_channel(channel, PowInterceptor(key)))
        answer = stub.Predictions(PredictionsRequest(model_name="digits", input={"data": image}), timeout=30)

With asyncio, give the interceptors of one `aio_interceptors(key)` to the channel:

    async with grpc.aio.insecure_channel(target, interceptors=aio_interceptors(key)) as channel:
        answer = await InferenceAPIsServiceStub(channel).Predictions(request)

Use one PowInterceptor for many requests to a server: it remembers what answers cost.
"""

from __future__ import annotations

from calpow.puzzle.installation import install_command

try:
    import grpc  # noqa: F401  # its absence is told apart from that of a module of ours
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"calpow.client.grpc needs grpcio: {install_command('grpc')}", name="grpc") from error

from calpow.client.grpc.aio import aio_interceptors
from calpow.client.grpc.interceptor import PowInterceptor

__all__ = ["PowInterceptor", "aio_interceptors"]
