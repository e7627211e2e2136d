"""TorchServe's gRPC calls without generated code: the few fields of its .proto files, written by hand."""

import grpc

PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
STREAM = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions"
INFER = "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer"
TIMEOUT = 30.0


def predict(target: str, model: str, entries: dict[str, bytes], *, stream: bool = False) -> bytes:
    """PredictionsRequest(model_name=1, input=3 as a map) -> PredictionResponse.prediction=1."""
    pairs = b"".join(field(3, field(1, name.encode()) + field(2, value)) for name, value in entries.items())
    request = field(1, model.encode()) + pairs
    with grpc.insecure_channel(target) as channel:
        if stream:
            answers = channel.unary_stream(STREAM)(request, timeout=TIMEOUT)
            return _first(next(iter(answers)))
        return _first(channel.unary_unary(PREDICTIONS)(request, timeout=TIMEOUT))


def infer(target: str, model: str, payload: bytes) -> bytes:
    """KServe v2 ModelInfer with one BYTES tensor; the raw ModelInferResponse. Raises grpc.RpcError."""
    contents = field(8, payload)
    tensor = field(1, b"input") + field(2, b"BYTES") + varint(3 << 3) + varint(1) + field(5, contents)
    request = field(1, model.encode()) + field(3, b"an id") + field(5, tensor)
    with grpc.insecure_channel(target) as channel:
        answer: bytes = channel.unary_unary(INFER)(request, timeout=TIMEOUT)
        return answer


def field(number: int, value: bytes) -> bytes:
    """Return a field of protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _first(message: bytes) -> bytes:
    """The bytes of field 1 of a message that begins with it."""
    assert message[:1] == b"\x0a", message[:40]
    length, shift, position = 0, 0, 1
    while True:
        byte = message[position]
        length |= (byte & 0x7F) << shift
        shift, position = shift + 7, position + 1
        if byte < 0x80:
            return message[position : position + length]
