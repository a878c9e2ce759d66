//! What this host is called, without saying which one it is (machine-id(5)).
//!
//! machine-id(5) asks for the id of the host to be kept secret and to be hashed with a key of the
//! application, as sd_id128_get_machine_app_specific(3) does: HMAC-SHA256 with the id as its key, of an
//! id of the application, cut to 128 bits with those of a version 4 UUID. `systemd-id128 machine-id
//! --app-specific=7d1a5c0e4f6b4b0f9a3e2c8851d06f97` prints the same.
//!
//! Promises: nobody can compute the id of the host from what comes out, and what comes out is the same
//! after every boot. Nothing comes out where the host has no id yet (`uninitialized`).
//! Must not know: what the name is for.

use std::fs;

use sha2::{Digest, Sha256};

/// Of hitless. If it changed, every host would get another name.
const APPLICATION: [u8; 16] = 0x7d1a_5c0e_4f6b_4b0f_9a3e_2c88_51d0_6f97_u128.to_be_bytes();

/// Sixteen octets of /etc/machine-id, made hitless's own.
pub fn application_id() -> Option<u128> {
    derived(&fs::read_to_string("/etc/machine-id").ok()?)
}

fn derived(machine_id: &str) -> Option<u128> {
    let text = machine_id.strip_suffix('\n').unwrap_or(machine_id);
    let hexadecimal = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|id| hexadecimal && *id != 0)?;
    let mut octets = [0; 16];
    octets.copy_from_slice(&hmac(&id.to_be_bytes(), &APPLICATION)[..16]);
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    Some(u128::from_be_bytes(octets))
}

/// RFC 2104, section 2, for keys that are no longer than a block.
fn hmac(key: &[u8; 16], message: &[u8]) -> [u8; 32] {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_name_that_systemd_derives() {
        // `systemd-id128 machine-id --app-specific=` on a host of this id.
        let id = derived("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(format!("{id:032x}"), "9b4df53633fd4106ac566f3461944275");
    }

    #[test]
    fn a_host_without_an_id_has_no_name() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "uninitialized\n",
            "0123",
            &zeros,
            "+123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdeg",
        ] {
            assert_eq!(derived(text), None, "{text}");
        }
    }
}
