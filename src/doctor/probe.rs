//! How long an endpoint keeps a connection that is left idle, found out by leaving one idle.
//!
//! Promises: one connection and one HEAD request an endpoint; it ends with the endpoint's close, or when the pool
//! would have closed it.
//! Must not know: what the answer says.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{End, Kept};
use crate::config::settings::{Address, HostPattern, Protocol, Service};

/// More than any head that is still to be read.
const LONG: usize = 64 * 1024;

trait Stream: Read + Write {
    fn limit(&self, limit: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }
}

impl Stream for UnixStream {
    fn limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }
}

/// All endpoints that speak HTTP/1, all at once. An error has the endpoint's name.
pub fn endpoints(services: &[impl AsRef<Service>]) -> Vec<Result<Kept, (String, String)>> {
    std::thread::scope(|scope| {
        let services =
            services.iter().map(AsRef::as_ref).filter(|service| service.protocol == Protocol::Http1);
        let pairs = services
            .flat_map(|service| service.endpoints.iter().map(move |endpoint| (service, &endpoint.address)));
        let probes: Vec<_> = pairs
            .map(|(service, endpoint)| {
                let name = (format!("{endpoint} of service {}", service.name), service, endpoint);
                (name.0, scope.spawn(move || probe(name.1, name.2)))
            })
            .collect();
        let result = |(name, probe): (String, std::thread::ScopedJoinHandle<'_, io::Result<Kept>>)| {
            let kept = probe.join().unwrap_or_else(|_| Err(io::Error::other("panicked")));
            kept.map_err(|error| (name, error.to_string()))
        };
        probes.into_iter().map(result).collect()
    })
}

fn probe(service: &Service, endpoint: &Address) -> io::Result<Kept> {
    let pool = service.pool.idle;
    let patience = service.routes.first().map_or(pool, |route| route.timeout.connect);
    let mut stream = connect(endpoint, patience)?;
    stream.limit(pool.max(Duration::from_secs(1)))?;
    let host = service.routes.iter().flat_map(|route| &route.hosts).find_map(|host| match host {
        HostPattern::Exact(host) => Some(host.as_str()),
        _ => None,
    });
    // In one piece: what is cut short by a close in between is an error of its own.
    let host = host.unwrap_or("localhost");
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hitless-doctor\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let head = head(&mut *stream)?;
    let end = match announced(&head)? {
        Some(after) => End::Announced(after),
        None => end(&mut *stream, pool)?,
    };
    Ok(Kept { service: service.name.clone(), endpoint: endpoint.to_string(), pool, end })
}

fn connect(endpoint: &Address, patience: Duration) -> io::Result<Box<dyn Stream>> {
    let address = match endpoint {
        Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path)?)),
        Address::Ip(address) => *address,
        Address::Name { host, port } => {
            (host.as_str(), *port).to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?
        }
    };
    Ok(Box::new(TcpStream::connect_timeout(&address, patience)?))
}

fn head(stream: &mut dyn Stream) -> io::Result<String> {
    let mut head = vec![];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Err(io::Error::other("it closed the connection instead of answering")),
            length => head.extend_from_slice(&piece[..length]),
        }
        if head.len() > LONG {
            return Err(io::Error::other("its answer has no end"));
        }
    }
    Ok(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

/// The time in `Keep-Alive: timeout=5`, if the connection is kept at all.
fn announced(head: &str) -> io::Result<Option<Duration>> {
    let field =
        |name: &str| head.lines().filter_map(|line| line.split_once(':')).find(|(found, _)| *found == name);
    let closes = field("connection").is_some_and(|(_, value)| value.contains("close"));
    if closes || !head.starts_with("http/1.1") {
        return Err(io::Error::other("it keeps no connection"));
    }
    let value = field("keep-alive").map(|(_, value)| value);
    let timeout = value
        .into_iter()
        .flat_map(|value| value.split(','))
        .find_map(|part| part.trim().strip_prefix("timeout="));
    Ok(timeout.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs))
}

fn end(stream: &mut dyn Stream, pool: Duration) -> io::Result<End> {
    let mut idle = Instant::now();
    loop {
        let Some(left) = pool.checked_sub(idle.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(End::Outlived);
        };
        stream.limit(left)?;
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return Ok(End::Closed(idle.elapsed())),
            // The content that some send in answer to HEAD.
            Ok(_) => idle = Instant::now(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Ok(End::Closed(idle.elapsed()));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::Arc;

    use crate::config::settings::{ErrorPages, Pool};

    fn service(endpoint: Address, idle: Duration) -> Arc<Service> {
        Arc::new(Service {
            name: "shop".into(),
            endpoints: vec![endpoint.into()],
            resolve: idle,
            balance: Default::default(),
            health: None,
            breaker: Default::default(),
            protocol: Protocol::Http1,
            endpoint_tls: Default::default(),
            pool: Pool { idle, max_idle: 1 },
            hold: Default::default(),
            unit: Default::default(),
            errors: Arc::new(ErrorPages::default()),
            tls: Default::default(),
            https: Default::default(),
            rates: vec![],
            concurrency: Default::default(),
            deadline_field: None,
            routes: vec![],
        })
    }

    /// What is found of an endpoint that answers so, and then closes or waits for the other side to.
    fn found(answer: &str, closes: bool, idle: Duration) -> Result<Kept, (String, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![];
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                assert!(request.starts_with(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
                if !closes {
                    let _ = stream.read(&mut [0]);
                }
            });
            endpoints(&[service(address, idle)]).remove(0)
        })
    }

    #[test]
    fn an_endpoint_closes_first_announces_it_outlives_the_pool_or_keeps_nothing() {
        let minute = Duration::from_secs(60);
        let kept = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert!(matches!(found(kept, true, minute).unwrap().end, End::Closed(after) if after < minute));
        assert_eq!(found(kept, false, Duration::from_millis(20)).unwrap().end, End::Outlived);
        let announced = "HTTP/1.1 204 No Content\r\nKeep-Alive: max=100, timeout=5\r\n\r\n";
        assert_eq!(found(announced, true, minute).unwrap().end, End::Announced(Duration::from_secs(5)));
        for (answer, reason) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "it keeps no connection"),
            ("HTTP/1.0 200 OK\r\n\r\n", "it keeps no connection"),
            ("HTTP/1.1 200 OK\r\n", "it closed the connection instead of answering"),
        ] {
            let (name, why) = found(answer, true, minute).unwrap_err();
            assert!(name.ends_with(" of service shop"));
            assert_eq!(why, reason);
        }
    }
}
