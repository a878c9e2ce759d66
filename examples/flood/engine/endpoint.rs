//! An application that answers at once, as much as it is asked for, and keeps nothing.
//!
//! `/` says ok, `/bytes/N` says N bytes, a content of any length is read and counted; an upgrade is accepted and
//! then held in silence. One thread for each connection, none for a tunnel.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use hitless::prove::wire::websocket;

static TUNNELS: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

/// Where it listens.
pub fn start() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // std's 128 are fewer than a flood asks for at a time: the kernel would drop what comes beyond, and everybody's
    // connections here, the calm client's too, would wait for a second to be asked for again.
    rustix::net::listen(&listener, 4096)?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let thread = std::thread::Builder::new().stack_size(64 * 1024);
            // Without a thread the connection is closed, and the gateway sees an endpoint that is too busy.
            let _ = thread.spawn(move || serve(socket));
        }
    });
    Ok(address)
}

fn serve(socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    // Hundreds of answers that nobody reads shall not fill the kernel's memory.
    socket2::SockRef::from(&socket).set_send_buffer_size(64 * 1024)?;
    let mut reader = BufReader::with_capacity(16 * 1024, socket.try_clone()?);
    let mut socket = socket;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut chunked, mut key) = (0, false, None);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "transfer-encoding" => chunked = true,
                "sec-websocket-key" => key = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        if let Some(key) = key {
            let accept = websocket::accept(&key);
            write!(
                socket,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )?;
            if let Ok(mut tunnels) = TUNNELS.lock() {
                tunnels.push(socket);
            }
            return Ok(());
        }
        let received = if chunked { chunks(&mut reader)? } else { skip(&mut reader, length)? };
        let asked = path.strip_prefix("/bytes/").and_then(|count| count.parse::<u64>().ok());
        match asked {
            Some(count) => bytes(&mut socket, count)?,
            None => {
                let text = if received > 0 { received.to_string() } else { "ok".to_owned() };
                write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
            }
        }
    }
}

fn bytes(socket: &mut TcpStream, count: u64) -> Result<()> {
    // Only offenders ask for this, hundreds at a time. A real application has processors of its own for it.
    let _ = rustix::process::setpriority_process(None, 19);
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n")?;
    let piece = [0; 16 * 1024];
    let mut left = count;
    while left > 0 {
        let now = left.min(piece.len() as u64);
        socket.write_all(&piece[..now as usize])?;
        left -= now;
    }
    Ok(())
}

fn skip(reader: &mut impl Read, count: u64) -> Result<u64> {
    std::io::copy(&mut reader.take(count), &mut std::io::sink())
}

fn chunks(reader: &mut impl BufRead) -> Result<u64> {
    let mut received = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16).unwrap_or(0);
        if size == 0 {
            // The end of the trailers.
            while reader.read_line(&mut line)? > 2 {}
            return Ok(received);
        }
        received += skip(reader, size)?;
        skip(reader, 2)?;
    }
}
