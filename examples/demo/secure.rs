//! What TLS needs on the stage: an authority, and pairs of certificate and key that it has signed.
//!
//! Promises: the authority's key never leaves this process; a pair in the host is readable for the daemon alone.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/tls/pki.rs"]
mod pki;

use anyhow::Context;
use tempfile::TempDir;

use crate::lab::{Host, Output};
use crate::stage::{BLOG, SHOP};
use hitless::prove::{Tls, Trust};
use pki::Authority;

const NAMES: [&str; 3] = ["shop.example.com", "blog.example.com", "*.example.com"];

pub struct Secrets {
    authority: Authority,
    folder: TempDir,
}

impl Secrets {
    pub fn new() -> anyhow::Result<Secrets> {
        let folder = tempfile::tempdir().context("cannot make a folder for certificates")?;
        let authority = Authority::new("demo");
        authority.write(folder.path(), "ca");
        Ok(Secrets { authority, folder })
    }

    /// How the load is to speak: every fourth connection by TLS 1.2.
    pub fn tls(&self) -> Tls {
        Tls { trust: Trust::File(self.folder.path().join("ca.pem")), old_every: 4, ..Tls::default() }
    }

    /// The configuration for TLS, in the words of an operator.
    pub fn set(&self, host: &Host) -> Output {
        host.put(&self.folder.path().join("ca.pem"), "/root/ca.pem");
        let replaced = self.replace(host);
        if replaced.status != 0 {
            return replaced;
        }
        let certificates =
            "certificates = [{ chain = \"/etc/hitless/tls/demo.pem\", key = \"/etc/hitless/tls/demo.key\" }]";
        host.shell(&format!(
            "sed -i '/^endpoints/a {certificates}' {SHOP} {BLOG}
             grep -q probation /etc/hitless/hitless.toml ||
                 printf '[upgrade]\nprobation = \"1s\"\n' >>/etc/hitless/hitless.toml
             systemctl enable hitless-https.socket && systemctl restart hitless || exit
             curl --silent --show-error --fail --cacert /root/ca.pem \\
                 --resolve shop.example.com:443:127.0.0.1 https://shop.example.com/"
        ))
    }

    /// Puts a new pair in the place of the one in the host, the key first: for a moment they do not belong together.
    pub fn replace(&self, host: &Host) -> Output {
        let pair = self.authority.leaf(&NAMES).pair();
        host.write("/root/next/demo.key", &pair.key);
        host.write("/root/next/demo.pem", &pair.chain);
        host.shell(
            "install -d -o root -g hitless -m 750 /etc/hitless/tls || exit
             for file in demo.key demo.pem; do
                 install -o hitless -g hitless -m 400 /root/next/$file /etc/hitless/tls/$file.new &&
                     mv /etc/hitless/tls/$file.new /etc/hitless/tls/$file || exit
             done
             rm -r /root/next",
        )
    }
}
