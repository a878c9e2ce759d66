//! An endpoint that gives back what comes: contents of requests, and whatever a tunnel carries.
//!
//! Promises: an answer begins when its request is whole; every connection has a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Where it listens.
pub fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Until the gateway closes, whichever way.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut length, mut upgrade) = (0, None);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim_end().parse().unwrap(),
                "upgrade" => upgrade = Some(value.trim_end().to_owned()),
                _ => {}
            }
        }
        if let Some(protocol) = upgrade {
            // Of the key that RFC 6455 has as its example, which is everybody's here.
            write!(
                &stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            )?;
            std::io::copy(&mut reader, &mut &stream)?;
            return Ok(());
        }
        let mut content = vec![0; length];
        reader.read_exact(&mut content)?;
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.extend(content);
        (&stream).write_all(&answer)?;
    }
}
