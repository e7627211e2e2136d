"""What tests share: servers, clients, victims and inputs."""
