//! An application that answers when the test lets it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::daemon::PATIENCE;

/// Answers `/now` at once, and everything else after [`Origin::release`].
pub struct Origin {
    pub address: String,
    connections: Arc<AtomicUsize>,
    arrived: Receiver<()>,
    release: Sender<()>,
}

impl Origin {
    pub fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (arrival, arrived) = channel();
        let (release, released) = channel();
        let released = Arc::new(Mutex::new(released));
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, SeqCst);
                let (arrival, released) = (arrival.clone(), Arc::clone(&released));
                std::thread::spawn(move || answer(stream, &arrival, &released));
            }
        });
        Origin { address, connections, arrived, release }
    }

    /// How many were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Waits until a request that needs a release is here.
    pub fn has_one(&self) {
        self.arrived.recv_timeout(PATIENCE).expect("no request arrived");
    }

    /// Lets one request be answered.
    pub fn release(&self) {
        self.release.send(()).unwrap();
    }
}

fn answer(stream: TcpStream, arrival: &Sender<()>, released: &Mutex<Receiver<()>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        if !first.contains(" /now ") {
            let _ = arrival.send(());
            if released.lock().unwrap().recv().is_err() {
                return;
            }
        }
        if (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").is_err() {
            return;
        }
    }
}
