"""Errors of the client as errors of gRPC, with its codes."""

from __future__ import annotations

import grpc

from calpow.client.errors import (
    Cancelled,
    RequestRefused,
    TimeLimitExceeded,
    UnsolvableInTime,
    UnusableKey,
    WorkLimitExceeded,
)

_CODES = {
    WorkLimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TimeLimitExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnsolvableInTime: grpc.StatusCode.DEADLINE_EXCEEDED,
    Cancelled: grpc.StatusCode.CANCELLED,
    UnusableKey: grpc.StatusCode.UNAUTHENTICATED,
}
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_CODES_OF_STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.FAILED_PRECONDITION,
    403: grpc.StatusCode.PERMISSION_DENIED,
    413: grpc.StatusCode.OUT_OF_RANGE,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class PowRpcError(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """Root of the errors of PowInterceptor, beside ClientError: they have a code and details as those of gRPC."""

    def code(self) -> grpc.StatusCode:
        """Return the code that gRPC has for such an error."""
        if isinstance(self, RequestRefused):
            return _CODES_OF_STATUSES.get(self.status, grpc.StatusCode.UNKNOWN)
        return next((code for kind, code in _CODES.items() if isinstance(self, kind)), grpc.StatusCode.INTERNAL)

    def details(self) -> str:
        """Return the message."""
        return str(self)
