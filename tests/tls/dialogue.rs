//! A client at the door: how its handshake ends, and what it knows of the other side.
//!
//! Promises: an alert is told from every other end.

use std::io;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, Error};

use crate::byhand::Wire;
use crate::client::Client;

impl Client {
    /// With its handshake done, as far as this side can tell.
    pub fn try_to(&self, address: &str, name: Option<&str>) -> io::Result<Wire> {
        Wire::to(address).secured(self.tls(name))
    }

    #[track_caller]
    pub fn to(&self, address: &str, name: &str) -> Wire {
        self.try_to(address, Some(name)).unwrap()
    }

    /// The alert that this handshake, or the first word after it, is answered with.
    #[track_caller]
    pub fn refusal(&self, address: &str, name: Option<&str>) -> AlertDescription {
        let refused = self.try_to(address, name).and_then(|mut wire| {
            // In TLS 1.3 the client is done before the server has looked at its certificate.
            wire.read(&mut [0; 16])
        });
        alert(refused.map(|count| panic!("not refused, {count} bytes came")).unwrap_err())
    }
}

/// What rustls was told by the other side.
#[track_caller]
pub fn alert(error: io::Error) -> AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error:?}"),
    }
}

/// What a client knows of the other side.
pub trait Secured {
    fn certificate(&self) -> CertificateDer<'static>;
    fn protocol(&self) -> Option<&str>;
    fn resumed(&self) -> bool;
}

impl Secured for Wire {
    fn certificate(&self) -> CertificateDer<'static> {
        let tls = self.tls.as_ref().unwrap();
        tls.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn protocol(&self) -> Option<&str> {
        let protocol = self.tls.as_ref().unwrap().alpn_protocol();
        protocol.map(|name| std::str::from_utf8(name).unwrap())
    }

    fn resumed(&self) -> bool {
        self.tls.as_ref().unwrap().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}
