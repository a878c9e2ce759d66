//! What the compression promises.

use bytes::BytesMut;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::field::{Field, Name};
use super::*;

const ALL: usize = 1 << 30;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn text(field: &Field) -> (String, String) {
    let (name, value) = match field {
        Field::Pseudo(Pseudo::Method(value)) => (":method", value.to_string()),
        Field::Pseudo(Pseudo::Scheme(value)) => (":scheme", value.to_string()),
        Field::Pseudo(Pseudo::Authority(value)) => (":authority", value.to_string()),
        Field::Pseudo(Pseudo::Path(value)) => (":path", value.to_string()),
        Field::Pseudo(Pseudo::Protocol(value)) => (":protocol", value.to_string()),
        Field::Pseudo(Pseudo::Status(value)) => (":status", value.as_str().to_owned()),
        Field::Regular(name, value) => {
            let value = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
            return (name.to_string(), value);
        }
        Field::Malformed(_, why) => ("!", (*why).to_owned()),
    };
    (name.to_owned(), value)
}

#[derive(Default)]
struct Fields(Vec<Field>);

impl Sink for Fields {
    fn regular(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Field::Regular(name, value));
    }

    fn pseudo(&mut self, pseudo: Pseudo) {
        self.0.push(Field::Pseudo(pseudo));
    }

    fn malformed(&mut self, why: &'static str) {
        self.0.push(Field::Malformed(Name::of(b""), why));
    }
}

fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Broken> {
    let mut fields = Fields::default();
    decoder.decode(block, ALL, &mut fields)?;
    Ok(fields.0.iter().map(text).collect())
}

/// Blocks that one decoder reads one after the other: hexadecimal, the fields a line each, and
/// the entries and the size of the table after it.
fn are_read(capacity: usize, blocks: &[(&str, &str, (usize, usize))]) {
    let mut decoder = Decoder::new(4096);
    decoder.table_mut().resize(capacity);
    for (hex, wanted, table) in blocks {
        let read = fields(&mut decoder, &bytes(hex)).unwrap();
        let wanted: Vec<(String, String)> = wanted
            .lines()
            .map(|line| line.trim().split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(read, wanted, "{hex}");
        assert_eq!(decoder.table(), *table, "{hex}");
    }
}

#[test]
fn literals_and_indices_are_read_as_the_rfc_reads_them() {
    // Appendix C.2.
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    are_read(4096, &[(custom, "custom-key: custom-header", (1, 55))]);
    are_read(4096, &[("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path", (0, 0))]);
    are_read(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret", (0, 0))]);
    are_read(4096, &[("82", ":method: GET", (0, 0))]);
}

#[test]
fn requests_are_read_as_the_rfc_reads_them() {
    let first = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com";
    let second =
        ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache";
    let third = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
                 custom-key: custom-value";
    // Appendix C.3.
    are_read(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", first, (1, 57)),
            ("8286 84be 5808 6e6f 2d63 6163 6865", second, (2, 110)),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", third, (3, 164)),
        ],
    );
    // Appendix C.4.
    are_read(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", first, (1, 57)),
            ("8286 84be 5886 a8eb 1064 9cbf", second, (2, 110)),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", third, (3, 164)),
        ],
    );
}

#[test]
fn answers_are_read_and_evicted_as_the_rfc_does() {
    let first = ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
                 location: https://www.example.com";
    let second = ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
                  location: https://www.example.com";
    let third = ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
                 location: https://www.example.com\ncontent-encoding: gzip\n\
                 set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    // Appendix C.5.
    are_read(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
                 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
                 6c65 2e63 6f6d",
                first,
                (4, 222),
            ),
            ("4803 3330 37c1 c0bf", second, (4, 222)),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
                 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
                 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                third,
                (3, 215),
            ),
        ],
    );
    // Appendix C.6.
    are_read(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
                 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                first,
                (4, 222),
            ),
            ("4883 640e ffc1 c0bf", second, (4, 222)),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
                 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
                 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                third,
                (3, 215),
            ),
        ],
    );
}

#[test]
fn what_is_encoded_is_read_as_the_same() {
    let mut map = HeaderMap::new();
    for (name, value) in [
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("content-type", "text/html"),
        ("accept-encoding", "gzip, deflate"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-request-id", "0123456789abcdef"),
        ("x-empty", ""),
    ] {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value));
    }
    map.append("x-long", HeaderValue::from_bytes(&[b'a'; 5000]).unwrap());
    for status in [200, 204, 206, 304, 400, 404, 500, 101, 201, 999] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut block = BytesMut::new();
        Encoder::new().head(status, &map, &mut block);
        let mut decoder = Decoder::new(4096);
        let mut read = Fields::default();
        let decoded = decoder.decode(&block, ALL, &mut read).unwrap();
        let Fields(mut read) = read;
        assert_eq!(read.remove(0), Field::Pseudo(Pseudo::Status(status)));
        let wanted: Vec<Field> =
            map.iter().map(|(name, value)| Field::Regular(name.clone(), value.clone())).collect();
        assert_eq!(read, wanted);
        assert!(!decoded.long && decoded.resizes == 0);
        assert_eq!(decoder.table(), (0, 0));
    }
}

#[test]
fn what_is_no_block_is_refused() {
    let long = |first: u8, rest: &[u8]| [&[first], rest].concat();
    let table: Vec<(Vec<u8>, Broken)> = vec![
        (vec![0x80], Broken::Index),
        // 62 when the table is empty, as a field and as a name.
        (vec![0xbe], Broken::Index),
        (vec![0x7e, 0], Broken::Index),
        (vec![0x0f, 0x2f, 0], Broken::Index),
        (vec![0xff], Broken::Truncated),
        (vec![0xff, 0x80, 0x80], Broken::Truncated),
        (long(0xff, &[0x80; 5]), Broken::LongInteger),
        (long(0xff, &[0x80; 1000]), Broken::LongInteger),
        (long(0xff, &[0xff; 1000]), Broken::LongInteger),
        (long(0xff, &[0xff, 0xff, 0xff, 0xff, 0x0f]), Broken::LongInteger),
        (long(0xff, &[0x80, 0x80, 0x80, 0x80, 0x80, 0]), Broken::LongInteger),
        (long(0xff, &[0xff, 0xff, 0xff, 0x7f]), Broken::LongInteger),
        (long(0xff, &[0xff, 0xff, 0xff, 0x3f]), Broken::Index),
        (vec![0x00], Broken::Truncated),
        (vec![0x00, 1], Broken::Truncated),
        (vec![0x00, 1, b'a'], Broken::Truncated),
        (vec![0x00, 1, b'a', 1], Broken::Truncated),
        (vec![0x44], Broken::Truncated),
        (vec![0x44, 0x7f, 0xff, 0xff, 0xff, 0x3f], Broken::Truncated),
        (vec![0x44, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Broken::LongInteger),
        // EOS, padding of a byte, and of zeros.
        (vec![0x44, 0x84, 0xff, 0xff, 0xff, 0xff], Broken::Huffman),
        (vec![0x44, 0x81, 0xff], Broken::Huffman),
        (vec![0x44, 0x81, 0x00], Broken::Huffman),
        (vec![0x00, 0x81, 0xff, 0], Broken::Huffman),
        // 4097, and any size behind a field.
        (vec![0x3f, 0xe2, 0x1f], Broken::TableSize),
        (vec![0x82, 0x20], Broken::LateTableSize),
        (vec![0x20, 0x82, 0x20], Broken::LateTableSize),
    ];
    for (block, broken) in table {
        assert_eq!(fields(&mut Decoder::new(4096), &block), Err(broken), "{block:x?}");
    }
}

#[test]
fn the_size_of_the_table_is_the_clients_within_what_was_announced() {
    let resizes = |most: usize, block: &[u8]| {
        let read = Decoder::new(most).decode(block, ALL, &mut Fields::default());
        read.map(|decoded| decoded.resizes)
    };
    assert_eq!(resizes(4096, &[0x3f, 0xe1, 0x1f]), Ok(1));
    assert_eq!(resizes(0, &[0x3f, 0xe1, 0x1f]), Ok(1));
    assert_eq!(resizes(65_536, &[0x3f, 0xe1, 0xff, 0x03, 0x82]), Ok(1));
    assert_eq!(resizes(65_536, &[0x3f, 0xe2, 0xff, 0x03, 0x82]), Err(Broken::TableSize));
    assert_eq!(resizes(4096, &[0x20; 50]), Ok(50));
}

#[test]
fn entries_leave_in_the_order_in_which_they_came() {
    let mut decoder = Decoder::new(4096);
    let entry = |name: u8, length: u8| [&[0x40, 1, name, length][..], &vec![b'v'; length.into()]].concat();
    // 100 bytes.
    fields(&mut decoder, &[0x3f, 0x45]).unwrap();
    fields(&mut decoder, &[entry(b'a', 0), entry(b'b', 0), entry(b'c', 1)].concat()).unwrap();
    assert_eq!(decoder.table(), (3, 33 + 33 + 34));
    assert_eq!(fields(&mut decoder, &[0xc0]).unwrap()[0].0, "a");
    // One byte more.
    fields(&mut decoder, &entry(b'd', 1)).unwrap();
    assert_eq!(decoder.table(), (2, 68));
    assert_eq!(
        fields(&mut decoder, &[0xbe, 0xbf]).unwrap(),
        [("d".into(), "v".into()), ("c".into(), "v".into())]
    );
    assert_eq!(fields(&mut decoder, &[0xc0]), Err(Broken::Index));
    // A name of the entry that leaves for it (section 4.4).
    let again = [&[0x7f, 0x00, 60][..], &[b'w'; 60]].concat();
    assert_eq!(fields(&mut decoder, &again).unwrap()[0].0, "c");
    assert_eq!(decoder.table(), (1, 93));
    // One that is larger than the table is read, and empties it.
    assert_eq!(fields(&mut decoder, &entry(b'e', 100)).unwrap()[0].1.len(), 100);
    assert_eq!(decoder.table(), (0, 0));
    fields(&mut decoder, &entry(b'f', 0)).unwrap();
    fields(&mut decoder, &[0x20]).unwrap();
    assert_eq!(decoder.table(), (0, 0));
}

/// A few bytes that stand for many: what is held does not grow with what they stand for.
#[test]
fn a_bomb_gives_no_more_than_the_bound() {
    let mut decoder = Decoder::new(4096);
    // 4000 bytes: 127 + 0x21 + (0x1e << 7).
    let large = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
    let mut read = Fields::default();
    let decoded = decoder.decode(&[large, vec![0xbe; 16_000]].concat(), 65_536, &mut read).unwrap();
    assert_eq!(decoded, Decoded { size: 16_001 * 4033, long: true, resizes: 0 });
    assert_eq!(read.0.len(), 16);
    assert_eq!(decoder.table(), (1, 4033));
}

#[test]
fn values_of_one_block_share_and_those_of_the_table_do_not() {
    let mut decoder = Decoder::new(4096);
    let mut read = Fields::default();
    decoder.decode(b"\x00\x01a\x04abcd\x00\x01b\x04efgh\x40\x01c\x04ijkl\xbe", ALL, &mut read).unwrap();
    let places: Vec<usize> = read
        .0
        .iter()
        .map(|field| match field {
            Field::Regular(_, value) => value.as_bytes().as_ptr() as usize,
            _ => panic!("{field:?}"),
        })
        .collect();
    assert_eq!(places[1], places[0] + 4);
    assert_eq!(places[2], places[3]);
}
