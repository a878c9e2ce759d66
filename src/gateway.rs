//! The composition root of a gateway process: config → sockets → ready → serve → drain → exit.
