//! Downloads from servers that fail in various ways.

use std::cell::RefCell;

use unireal::internals::web::fetch::{Http, RetryPolicy};
use unireal::internals::web::wait::or_abort;
use unireal::internals::weights::manifest::Shard;
use unireal::internals::weights::source::{Arrived, Origin, ShardSource, VerifiedShard};
use unireal::{Error, Result};
use wasm_bindgen_test::*;

use super::support::*;

const ETAG: &str = r#"{"etag":"\"one\""}"#;

const QUICK: RetryPolicy = RetryPolicy {
    stall: 200,
    retries: 4,
    backoff: 5,
};

fn host(name: &str) -> (String, Http) {
    let prefix = format!("/host-{name}/");
    script(&prefix);
    let http = Http::new(&prefix, None, QUICK);
    (prefix, http)
}

/// Fetches a shard and checks that the progress adds up.
async fn fetch(http: &Http, shard: &Shard) -> Result<VerifiedShard> {
    let sum = RefCell::new(0);
    let mut arrived = |piece: Arrived| {
        *sum.borrow_mut() += piece.bytes;
        assert!(*sum.borrow() <= shard.length, "{sum:?} bytes of {shard:?}");
    };
    let fetched = http.shard(shard, Origin::Any, &mut arrived).await?;
    assert_eq!(*sum.borrow(), shard.length);
    VerifiedShard::new(shard, fetched.bytes)
}

fn reason(result: Result<VerifiedShard>) -> String {
    match result.unwrap_err() {
        Error::Network { reason, .. } => reason,
        other => panic!("{other:?} is no network error"),
    }
}

#[wasm_bindgen_test]
async fn a_missing_file_is_a_network_error_with_the_status_and_is_asked_for_once() {
    let real = Http::new("/", None, QUICK);
    let error = real.file("no/such/file.json", 1 << 20).await.unwrap_err();
    assert_eq!(error.code(), "network");
    assert!(error.to_string().contains("404"), "{error}");
    let (prefix, http) = host("missing");
    for status in [404, 403] {
        answer(&prefix, status, "{}", &[], "end");
        let error = http.file("model_index.json", 1 << 20).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    assert_eq!(requests(&prefix).len(), 2);
}

#[wasm_bindgen_test]
async fn a_page_of_html_is_no_pack() {
    let real = Http::new("/?from=test", None, QUICK);
    let error = real.file("", 1 << 20).await.unwrap_err();
    assert_eq!(error.code(), "network");
    assert!(error.to_string().contains("a page of HTML"), "{error}");
    let (prefix, http) = host("html");
    let html = r#"{"content-type":"text/html; charset=utf-8"}"#;
    answer(&prefix, 200, html, b"<!doctype html>", "end");
    assert!(reason(fetch(&http, &shard(1, 100).0).await).contains("HTML"));
}

#[wasm_bindgen_test]
async fn a_file_over_its_limit_is_refused_while_it_comes() {
    let (prefix, http) = host("long");
    answer(&prefix, 200, "{}", &[b' '; 300_000], "stall");
    let error = http.file("model_index.json", 100_000).await.unwrap_err();
    assert_eq!(error.code(), "format");
    assert!(error.to_string().contains("longer than 100000"), "{error}");
    assert!(requests(&prefix)[0].aborted, "the rest is still being sent");
}

#[wasm_bindgen_test]
async fn a_query_follows_the_file() {
    script("/host-query/");
    answer("/host-query/", 200, "{}", b"{}", "end");
    let http = Http::new("/host-query/?key=1", None, QUICK);
    http.file("vae/config.json", 100).await.unwrap();
    assert_eq!(requests("/host-query/")[0].path, "vae/config.json?key=1");
}

#[wasm_bindgen_test]
async fn a_cut_connection_is_taken_up_where_it_ended() {
    let (prefix, http) = host("cut");
    let (shard, bytes) = shard(2, 500_000);
    answer(&prefix, 200, ETAG, &bytes[..70_000], "cut");
    answer(&prefix, 206, ETAG, &bytes[70_000..200_000], "cut");
    answer(&prefix, 206, ETAG, &bytes[200_000..], "end");
    fetch(&http, &shard).await.unwrap();
    let seen = requests(&prefix);
    let ranges: Vec<_> = seen.iter().map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=70000-"), Some("bytes=200000-")]);
    assert_eq!(seen[0].if_range, None);
    assert_eq!(seen[1].if_range.as_deref(), Some("\"one\""));
}

#[wasm_bindgen_test]
async fn a_last_modified_date_serves_where_there_is_no_strong_etag() {
    let (prefix, http) = host("date");
    let (shard, bytes) = shard(3, 200_000);
    let date = r#"{"etag":"W/\"weak\"","last-modified":"Mon, 23 Nov 2026 10:00:00 GMT"}"#;
    answer(&prefix, 200, date, &bytes[..70_000], "cut");
    answer(&prefix, 206, date, &bytes[70_000..], "end");
    fetch(&http, &shard).await.unwrap();
    let seen = requests(&prefix);
    let expected = Some("Mon, 23 Nov 2026 10:00:00 GMT");
    assert_eq!(seen[1].if_range.as_deref(), expected);
}

#[wasm_bindgen_test]
async fn a_host_that_sends_the_whole_file_again_or_another_version_starts_it_anew() {
    let (prefix, http) = host("anew");
    let (shard, bytes) = shard(4, 200_000);
    // The server answers a range request with the whole file; then with the rest of another version; then without any version.
    answer(&prefix, 200, ETAG, &bytes[..70_000], "cut");
    answer(&prefix, 200, ETAG, &bytes[..90_000], "cut");
    let other = r#"{"etag":"\"two\""}"#;
    answer(&prefix, 206, other, &bytes[90_000..], "end");
    answer(&prefix, 200, "{}", &bytes[..130_000], "cut");
    answer(&prefix, 200, "{}", &bytes, "end");
    fetch(&http, &shard).await.unwrap();
    let seen = requests(&prefix);
    let ranges: Vec<_> = seen.iter().map(|seen| seen.range.as_deref()).collect();
    let resumed = [None, Some("bytes=70000-"), Some("bytes=90000-"), None, None];
    assert_eq!(ranges, resumed);
}

#[wasm_bindgen_test]
async fn a_range_that_the_host_does_not_have_starts_the_file_anew() {
    let (prefix, http) = host("range");
    let (shard, bytes) = shard(5, 100_000);
    answer(&prefix, 200, ETAG, &bytes[..70_000], "cut");
    answer(&prefix, 416, "{}", &[], "end");
    answer(&prefix, 200, ETAG, &bytes, "end");
    fetch(&http, &shard).await.unwrap();
    assert_eq!(requests(&prefix)[2].range, None);
}

#[wasm_bindgen_test]
async fn bytes_that_are_not_the_promised_ones_are_an_integrity_error() {
    let (prefix, http) = host("wrong");
    let (shard, mut bytes) = shard(6, 100_000);
    answer(&prefix, 200, ETAG, &[&bytes[..], b"!"].concat(), "end");
    let error = fetch(&http, &shard).await.unwrap_err();
    assert_eq!(error.code(), "integrity");
    assert!(error.to_string().contains("more bytes"), "{error}");
    answer(&prefix, 200, r#"{"content-length":"99999"}"#, &bytes, "end");
    let error = fetch(&http, &shard).await.unwrap_err();
    assert_eq!(error.code(), "integrity");
    assert!(error.to_string().contains("99999"), "{error}");
    bytes[50_000] ^= 1;
    answer(&prefix, 200, ETAG, &bytes, "end");
    assert_eq!(fetch(&http, &shard).await.unwrap_err().code(), "integrity");
    assert_eq!(requests(&prefix).len(), 3);
}

#[wasm_bindgen_test]
async fn a_host_that_stays_broken_is_given_up_after_the_last_retry() {
    let (prefix, http) = host("broken");
    let (shard, bytes) = shard(7, 100_000);
    answer(&prefix, 503, "{}", &[], "end");
    answer(&prefix, 200, "{}", &[], "refuse");
    for _ in 0..3 {
        answer(&prefix, 200, "{}", &bytes[..60_000], "end");
    }
    let reason = reason(fetch(&http, &shard).await);
    assert!(reason.contains("60000 of 100000"), "{reason}");
    assert!(reason.contains("tried 5 times"), "{reason}");
    assert_eq!(requests(&prefix).len(), 5);
}

#[wasm_bindgen_test]
async fn connections_that_bring_much_do_not_use_up_the_retries() {
    // The last connection is cut after its last byte, so nothing is missing.
    let (prefix, http) = host("much");
    let (shard, bytes) = shard(8, 8 * 300_000);
    for start in (0..bytes.len()).step_by(300_000) {
        let status = if start == 0 { 200 } else { 206 };
        answer(&prefix, status, ETAG, &bytes[start..start + 300_000], "cut");
    }
    fetch(&http, &shard).await.unwrap();
    assert_eq!(requests(&prefix).len(), 8);
}

#[wasm_bindgen_test]
async fn silence_counts_as_a_cut() {
    let (prefix, http) = host("silence");
    let (shard, bytes) = shard(9, 100_000);
    answer(&prefix, 200, ETAG, &bytes[..70_000], "stall");
    answer(&prefix, 206, ETAG, &bytes[70_000..], "end");
    fetch(&http, &shard).await.unwrap();
    let seen = requests(&prefix);
    assert_eq!(seen[1].range.as_deref(), Some("bytes=70000-"));
    assert!(seen[0].aborted, "the silent connection is still open");
}

#[wasm_bindgen_test]
async fn an_abort_ends_a_wait_at_once_and_closes_the_request() {
    let (prefix, http) = host("abort");
    let (shard, bytes) = shard(10, 100_000);
    answer(&prefix, 200, ETAG, &bytes[..70_000], "stall");
    let start = js_sys::Date::now();
    let signal = abort_after(50);
    let result = or_abort(Some(&signal), fetch(&http, &shard)).await;
    assert_eq!(result.unwrap_err().code(), "abort");
    assert!(js_sys::Date::now() - start < 150.0, "not at once");
    assert!(requests(&prefix)[0].aborted);
    let never = or_abort(Some(&signal), async { Ok(()) }).await;
    assert_eq!(never.unwrap_err().code(), "abort");
}
