"""The kit Interlock is tested with, for tests of servers, clients and transports."""
