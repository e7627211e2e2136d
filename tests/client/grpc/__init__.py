"""PowInterceptor without a server; tests/e2e/test_grpc_client.py has it on a real one."""
