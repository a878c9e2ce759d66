//! The operator's HTTP door: health, status and reload on sockets that are not public.
