"""HTTP/1.1 and its edges, shared by every port."""
