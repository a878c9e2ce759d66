//! The committed corpus of the fuzz targets, through the same properties, without a fuzzer.
//!
//! Promises: every file under `fuzz/corpus` is read; what once broke a property and was fixed stays
//! there as a file; a target without a corpus is a failure.

#[path = "../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

fn corpus_of(target: &str, property: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    for file in files {
        let input = fs::read(&file).unwrap();
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| property(&input))) {
            eprintln!("with {}", file.display());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn heads_of_requests_are_read_as_the_oracle_reads_them() {
    corpus_of("request_head", properties::request_head);
}

#[test]
fn heads_of_answers_are_read_as_the_oracle_reads_them() {
    corpus_of("answer_head", properties::answer_head);
}

#[test]
fn chunks_are_read_as_a_naive_reader_reads_them() {
    corpus_of("chunked_body", properties::chunked_body);
}

#[test]
fn what_came_in_http2_leaves_as_exactly_one_request() {
    corpus_of("h2_to_h1", properties::h2_to_h1);
}

#[test]
fn what_is_forwarded_is_what_was_routed() {
    corpus_of("router", properties::router);
}

#[test]
fn nothing_is_read_from_tls_but_what_was_sealed() {
    corpus_of("tls_records", properties::tls_records);
}

#[test]
fn requests_of_http2_are_read_as_another_reads_them() {
    corpus_of("http2_head", properties::http2_head);
}

#[test]
fn frames_of_http2_are_read_within_their_payload() {
    corpus_of("http2_frames", properties::http2_frames);
}
