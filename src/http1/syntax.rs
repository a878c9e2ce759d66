//! Which bytes may stand where (RFC 9110, section 5; RFC 9112, section 3.2; RFC 3986).
//!
//! Promises: each table is made once, at compile time.
//! Must not know: messages.

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const QUERY: u8 = 4;
const TEXT: u8 = 8;

/// What each byte may be part of.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class(byte as u8);
        byte += 1;
    }
    table
}

const fn class(byte: u8) -> u8 {
    let alphanumeric = byte.is_ascii_alphanumeric();
    let mut class = 0;
    // RFC 9110, section 5.6.2.
    let marks = matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    );
    if alphanumeric || marks {
        class |= TOKEN;
    }
    // RFC 3986, section 3.3, and what browsers leave as it is (the URL standard's path set).
    let path = matches!(
        byte,
        b'/' | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
            | b':'
            | b'@'
            | b'%'
            | b'['
            | b']'
            | b'|'
            | b'^'
            | b'{'
            | b'}'
    );
    if alphanumeric || path {
        class |= TARGET;
    }
    // RFC 3986, section 3.4, and what browsers leave as it is (the URL standard's query set).
    if alphanumeric || path || matches!(byte, b'?' | b'\\' | b'`') {
        class |= QUERY;
    }
    // RFC 9110, section 5.5: VCHAR, obs-text, SP and HTAB.
    if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
        class |= TEXT;
    }
    class
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// `tchar` of RFC 9110, section 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// `token` of RFC 9110, section 5.6.2.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is(*byte, TOKEN))
}

/// What a field value, a reason phrase and a quoted string may consist of (RFC 9110, section 5.5).
pub fn is_text(text: &[u8]) -> bool {
    text.iter().all(|byte| is(*byte, TEXT))
}

/// Whether these bytes can be a request target: no space, control, quote, angle bracket, `#` or byte
/// beyond ASCII anywhere, and no `\` or backquote before the `?`, where an application might take it for
/// something else than a router does. What percent-encodings mean is the router's.
pub fn is_target(target: &[u8]) -> bool {
    let query = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(query);
    !target.is_empty()
        && path.iter().all(|byte| is(*byte, TARGET))
        && query.iter().all(|byte| is(*byte, QUERY))
}

/// Without the spaces and tabs around it (`OWS` of RFC 9110, section 5.6.3).
pub fn trimmed(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// `1*DIGIT` up to 2^63-1, so that no reader's integer overflows (RFC 9112, section 6.3).
pub fn length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse::<i64>().ok()?.try_into().ok()
}
