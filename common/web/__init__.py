"""HTTP/1.1 parsing, TLS and middleware, shared by every port."""
