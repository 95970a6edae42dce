//! The shard cache: which files are stored, which count as complete, and failures to store.

use unireal::internals::web::cache::Cache;
use unireal::internals::web::fetch::{Http, RetryPolicy};
use unireal::internals::web::wait::or_abort;
use unireal::internals::weights::manifest::Shard;
use unireal::internals::weights::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::*;

use super::support::*;

const ETAG: &str = r#"{"etag":"\"one\""}"#;

async fn http(prefix: &str) -> Http {
    let cache = Cache::open(Some(&cache_path(prefix))).await.unwrap();
    let patience = RetryPolicy {
        stall: 1000,
        retries: 1,
        backoff: 5,
    };
    Http::new(prefix, Some(cache), patience)
}

/// Fetches a shard as the loader does; returns it, and the bytes that came from the cache.
async fn fetch(http: &Http, shard: &Shard, origin: Origin) -> (Fetched, u64) {
    let mut cached = 0;
    let mut arrived = |piece: Arrived| cached += if piece.cached { piece.bytes } else { 0 };
    let fetched = http.shard(shard, origin, &mut arrived).await.unwrap();
    (fetched, cached)
}

async fn fetch_and_keep(http: &Http, shard: &Shard) -> u64 {
    let (fetched, cached) = fetch(http, shard, Origin::Any).await;
    http.cache(&VerifiedShard::new(shard, fetched.bytes).unwrap())
        .await;
    cached
}

#[wasm_bindgen_test]
async fn a_kept_shard_comes_back_without_a_request() {
    for can in [true, false] {
        wipe().await;
        can_rename(can);
        let prefix = format!("/keep-{can}/");
        let (shard, bytes) = shard(20, 2_500_000);
        put(&prefix, &shard.path, &bytes);
        assert_eq!(fetch_and_keep(&http(&prefix).await, &shard).await, 0);
        let again = http(&prefix).await;
        let (fetched, cached) = fetch(&again, &shard, Origin::Any).await;
        assert!(fetched.cached && fetched.bytes == bytes);
        assert_eq!(cached, shard.length);
        assert_eq!(requests(&prefix).len(), 1);
        assert!(
            Cache::find(&cache_path(&prefix))
                .await
                .unwrap()
                .holds(&shard)
        );
        let done = format!("{}.done", shard.sha256);
        assert_eq!(kept().await.contains(&done), !can);
        // Another pack's cache does not contain it.
        assert!(
            !Cache::open(Some(&cache_path("/keep-other/")))
                .await
                .unwrap()
                .holds(&shard)
        );
        can_rename(true);
    }
}

#[wasm_bindgen_test]
async fn bytes_that_were_not_verified_are_never_taken_for_complete() {
    for can in [true, false] {
        wipe().await;
        can_rename(can);
        let prefix = format!("/unverified-{can}/");
        let (shard, bytes) = shard(21, 300_000);
        put(&prefix, &shard.path, &bytes);
        // The page closes between the last byte and the verification: `cache` is never called.
        let (fetched, _) = fetch(&http(&prefix).await, &shard, Origin::Any).await;
        assert_eq!(fetched.bytes, bytes);
        let partial = format!("{}.partial", shard.sha256);
        assert!(kept().await.contains(&partial));
        assert!(
            !Cache::find(&cache_path(&prefix))
                .await
                .unwrap()
                .holds(&shard)
        );
        // Nor do the bytes of a complete but unverified file count as downloaded.
        assert_eq!(fetch_and_keep(&http(&prefix).await, &shard).await, 0);
        assert!(
            Cache::find(&cache_path(&prefix))
                .await
                .unwrap()
                .holds(&shard)
        );
        can_rename(true);
    }
}

#[wasm_bindgen_test]
async fn a_download_goes_on_where_an_earlier_page_ended() {
    wipe().await;
    let (shard, bytes) = shard(22, 3_000_000);
    script("/resume/");
    answer("/resume/", 200, ETAG, &bytes[..1_700_000], "stall");
    let first = http("/resume/").await;
    let signal = abort_after(200);
    let load = async { Ok(fetch(&first, &shard, Origin::Any).await) };
    let aborted = or_abort(Some(&signal), load).await;
    assert_eq!(aborted.unwrap_err().code(), "abort");
    drop(first);
    answer("/resume/", 206, ETAG, &bytes[1_700_000..], "end");
    let second = http("/resume/").await;
    assert_eq!(fetch_and_keep(&second, &shard).await, 1_700_000);
    let seen = requests("/resume/");
    assert_eq!(seen[1].range.as_deref(), Some("bytes=1700000-"));
    assert_eq!(seen[1].if_range.as_deref(), Some("\"one\""));
    let (fetched, _) = fetch(&http("/resume/").await, &shard, Origin::Any).await;
    assert!(fetched.cached && fetched.bytes == bytes);
    assert_eq!(kept().await, std::slice::from_ref(&shard.sha256));
}

#[wasm_bindgen_test]
async fn a_resumed_shard_that_is_wrong_gets_a_second_chance() {
    wipe().await;
    let (shard, bytes) = shard(23, 500_000);
    script("/mixed/");
    answer("/mixed/", 200, ETAG, &bytes[..200_000], "cut");
    answer("/mixed/", 404, "{}", &[], "end");
    let first = http("/mixed/").await;
    let failed = first.shard(&shard, Origin::Any, &mut |_| {}).await;
    assert_eq!(failed.unwrap_err().code(), "network");
    drop(first);
    damage(&format!("{}.partial", shard.sha256), 100_000, false).await;
    answer("/mixed/", 206, ETAG, &bytes[200_000..], "end");
    let second = http("/mixed/").await;
    let (fetched, _) = fetch(&second, &shard, Origin::Any).await;
    // The loader asks the server again only for shards marked as `cached`.
    assert!(fetched.cached);
    assert!(VerifiedShard::new(&shard, fetched.bytes).is_err());
    answer("/mixed/", 200, ETAG, &bytes, "end");
    let (fetched, _) = fetch(&second, &shard, Origin::Fresh).await;
    second
        .cache(&VerifiedShard::new(&shard, fetched.bytes).unwrap())
        .await;
    assert_eq!(requests("/mixed/")[3].range, None);
    assert!(
        Cache::find(&cache_path("/mixed/"))
            .await
            .unwrap()
            .holds(&shard)
    );
}

#[wasm_bindgen_test]
async fn a_kept_file_of_the_wrong_length_is_fetched_anew() {
    wipe().await;
    let (shard, bytes) = shard(24, 100_000);
    put("/short/", &shard.path, &bytes);
    fetch_and_keep(&http("/short/").await, &shard).await;
    damage(&shard.sha256, 99_999, true).await;
    assert_eq!(fetch_and_keep(&http("/short/").await, &shard).await, 0);
    assert_eq!(
        fetch_and_keep(&http("/short/").await, &shard).await,
        100_000
    );
}

#[wasm_bindgen_test]
async fn a_full_disc_is_said_and_does_not_stop_a_load() {
    wipe().await;
    let (shard, bytes) = shard(25, 2_500_000);
    put("/full/", &shard.path, &bytes);
    let source = http("/full/").await;
    full(true);
    let (fetched, _) = fetch(&source, &shard, Origin::Any).await;
    full(false);
    source
        .cache(&VerifiedShard::new(&shard, fetched.bytes).unwrap())
        .await;
    assert!(source.note().unwrap().contains("storage is full"));
    assert_eq!(kept().await, [] as [String; 0]);
}

#[wasm_bindgen_test]
async fn a_file_that_another_tab_writes_is_done_without() {
    wipe().await;
    let (shard, bytes) = shard(26, 100_000);
    put("/tabs/", &shard.path, &bytes);
    drop(fetch(&http("/tabs/").await, &shard, Origin::Any).await);
    let let_go = hold(&format!("{}.partial", shard.sha256)).await;
    let source = http("/tabs/").await;
    assert_eq!(fetch_and_keep(&source, &shard).await, 0);
    assert_eq!(source.note(), None);
    let let_go: js_sys::Function = let_go.unchecked_into();
    let_go.call0(&wasm_bindgen::JsValue::NULL).unwrap();
    assert!(
        !Cache::find(&cache_path("/tabs/"))
            .await
            .unwrap()
            .holds(&shard)
    );
}

#[wasm_bindgen_test]
async fn kept_descriptions_are_used_only_while_every_shard_is_there() {
    wipe().await;
    let shards = put_pack("/pack/", "first");
    let load = async |source: &Http| {
        let (plan, kept) = source.plan().await.unwrap();
        for shard in plan.shards() {
            fetch_and_keep(source, shard).await;
        }
        source
            .complete(&plan.shards().cloned().collect::<Vec<_>>())
            .await;
        (plan.config.index.name, kept)
    };
    let from_host = |name: &str| (name.to_owned(), false);
    assert_eq!(load(&http("/pack/").await).await, from_host("first"));
    let before = requests("/pack/").len();
    let kept_now = ("first".to_owned(), true);
    assert_eq!(load(&http("/pack/").await).await, kept_now);
    assert_eq!(requests("/pack/").len(), before, "a second load asked");
    // The server has a new version; the cached one is used until part of it is missing.
    put_pack("/pack/", "second");
    assert_eq!(load(&http("/pack/").await).await, kept_now);
    damage(&shards[1].sha256, 10, true).await;
    let source = http("/pack/").await;
    let (plan, _) = source.plan().await.unwrap();
    let one = plan.shards().nth(1).unwrap();
    let (fetched, _) = fetch(&source, one, Origin::Any).await;
    assert!(VerifiedShard::new(one, fetched.bytes).is_err());
    drop(source);
    assert_eq!(load(&http("/pack/").await).await, from_host("second"));
    // Nothing of the first version remains.
    let names = kept().await;
    assert_eq!(names.len(), shards.len() + 1, "{names:?}");
    assert!(shards.iter().all(|shard| !names.contains(&shard.sha256)));
}
