//! The sample application, within the test's own process.

#[allow(dead_code, reason = "the sample's program uses more of it")]
#[path = "../../examples/sample/service/mod.rs"]
mod service;

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use service::sockets::{self, Address};
use tokio::sync::oneshot;

/// Serves until it is dropped or told to leave.
pub struct Sample {
    pub address: String,
    leave: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sample {
    pub fn tcp() -> Sample {
        Sample::at("127.0.0.1:0")
    }

    pub fn unix(path: &Path) -> Sample {
        Sample::at(&format!("unix:{}", path.display()))
    }

    pub fn at(address: &str) -> Sample {
        let address: Address = address.parse().unwrap();
        let (leave, told) = oneshot::channel::<()>();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, serving) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = sockets::bind(&address).unwrap();
                ready.send(where_is(&socket, &address)).unwrap();
                let identity = service::Identity { name: "test".to_owned(), version: "1".to_owned() };
                let serving =
                    service::serve(vec![socket], service::App::new(identity), async { drop(told.await) });
                tokio::select! {
                    _ = serving.within(Duration::from_secs(30)) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = serving.recv().unwrap();
        Sample { address, leave: Some(leave), stop: Some(stop), thread: Some(thread) }
    }

    /// Finishes what is in flight, and ends.
    pub fn leave(mut self) {
        self.leave = None;
        self.thread.take().unwrap().join().unwrap();
        self.stop = None;
    }

    pub fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }
}

fn where_is(socket: &sockets::Socket, asked: &Address) -> String {
    match socket {
        sockets::Socket::Tcp(listener) => listener.local_addr().unwrap().to_string(),
        sockets::Socket::Unix(_) => asked.to_string(),
    }
}
