"""What a server does when its process is killed, its disk fails or its clients misbehave."""
