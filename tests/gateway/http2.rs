//! Clients of HTTP/2 with prior knowledge: hyper's, and curl.

use std::process::Command;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One connection, driven by a thread of its own until it is dropped.
pub struct Http2 {
    pub runtime: Handle,
    pub sender: SendRequest<Full<Bytes>>,
    _stop: oneshot::Sender<()>,
}

impl Http2 {
    pub fn to(address: &str) -> Http2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || runtime.block_on(stopped));
        let sender = handle.block_on(async {
            let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
            let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Http2 { runtime: handle, sender, _stop: stop }
    }

    pub fn get(&self, host: &str, path: &str) -> (Response<()>, Bytes) {
        self.send(request("GET", host, path, ""))
    }

    pub fn send(&self, request: Request<Full<Bytes>>) -> (Response<()>, Bytes) {
        let mut sender = self.sender.clone();
        self.runtime.block_on(async move { whole(sender.send_request(request).await.unwrap()).await })
    }
}

pub fn request(method: &str, host: &str, path: &str, content: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://{host}{path}"));
    request.body(Full::from(content)).unwrap()
}

pub async fn whole(answer: Response<Incoming>) -> (Response<()>, Bytes) {
    let (parts, body) = answer.into_parts();
    let content = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), content)
}

/// What curl prints, its errors included; every host is the gateway.
pub fn curl(address: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--connect-to"]);
    let output = command.arg(format!("::{address}")).args(arguments).output().expect("curl is not installed");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
