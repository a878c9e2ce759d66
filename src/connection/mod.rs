//! One client connection: HTTP/1 and HTTP/2 serving, tunnels, deadlines.
