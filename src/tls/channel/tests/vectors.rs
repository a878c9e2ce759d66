//! RFC 8448, section 3: the records after the handshake, by the traffic secrets that are printed there.

use super::super::super::keys::traffic_key;
use super::*;

const CLIENT: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const CLIENT_KEY: &str = "17422dda596ed5d9acd890e3c63f5051";
const CLIENT_IV: &str = "5b78923dee08579033e523d9";
const SERVER: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
const SERVER_KEY: &str = "9f02283b6c9c07efc26bb9f2ac92e356";
const SERVER_IV: &str = "cf782b88dd83549aadf1e984";

/// From the server: the first record of its secret.
const TICKET: &str = "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db\
     289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30\
     ba1e62972ac46f75f7b981be63439b2999ce130646151398 91d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94\
     c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df\
     353005f3bce18696129c8153556b3b6c6779b37bf15985684f";
const CLIENT_DATA: &str = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20\
     441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
const SERVER_DATA: &str = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb50\
     1a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
const CLIENT_CLOSES: &str = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
const SERVER_CLOSES: &str = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Both ends, with as many records gone by in the server's direction.
fn ends(number: u64) -> (Side, Side) {
    let half = |secret, number| record::Half {
        secret: Secret::from(&bytes(secret)[..]),
        number,
        ..record::Half::default()
    };
    let (up, down) = (half(CLIENT, 0), half(SERVER, number));
    let server = Seal { suite: 0x1301, read: up.clone(), write: down, ..Seal::default() };
    let client = Seal { suite: 0x1301, read: half(SERVER, 0), write: up, ..Seal::default() };
    (Side::new(Role::Client, &client), Side::new(Role::Server, &server))
}

#[test]
fn keys_come_from_secrets_as_in_rfc_8448() {
    for (secret, key, iv) in [(CLIENT, CLIENT_KEY, CLIENT_IV), (SERVER, SERVER_KEY, SERVER_IV)] {
        let derived = traffic_key(Suite::Aes128Gcm, &bytes(secret));
        assert_eq!((derived.0[..].to_vec(), derived.1[..].to_vec()), (bytes(key), bytes(iv)));
    }
}

#[test]
fn what_is_sealed_is_what_rfc_8448_prints() {
    let data: Vec<u8> = (0..50).collect();
    let (mut client, mut server) = ends(1);
    for (side, sealed, closes) in
        [(&mut client, CLIENT_DATA, CLIENT_CLOSES), (&mut server, SERVER_DATA, SERVER_CLOSES)]
    {
        side.write_all(&data);
        assert_eq!(side.outgoing.bytes.drain(..).collect::<Vec<u8>>(), bytes(sealed));
        assert!(side.shutdown().is_ready());
        assert_eq!(side.outgoing.bytes.drain(..).collect::<Vec<u8>>(), bytes(closes));
    }
}

#[test]
fn what_rfc_8448_prints_is_read_ticket_and_close_notify_too() {
    let data: Vec<u8> = (0..50).collect();
    let (mut client, mut server) = ends(0);
    client
        .incoming
        .bytes
        .extend(bytes(TICKET).into_iter().chain(bytes(SERVER_DATA)).chain(bytes(SERVER_CLOSES)));
    server.incoming.bytes.extend(bytes(CLIENT_DATA).into_iter().chain(bytes(CLIENT_CLOSES)));
    for side in [&mut client, &mut server] {
        let (plain, end) = side.read();
        assert_eq!(plain, data);
        assert!(matches!(end, Poll::Ready(Ok(0))) && !side.channel.was_cut());
    }
}
