//! A spawn function on the older generation of the crates: it keeps `value` in the cache under
//! `key`. It has no way to report an outcome; a payload that does not parse makes it panic.

use std::time::Duration;

use momento_functions::spawn;
use momento_functions_host::cache;
use serde::Deserialize;

#[derive(Deserialize)]
struct Entry {
    key: String,
    value: String,
}

spawn!(keep, Entry);
fn keep(Entry { key, value }: Entry) {
    cache::set(key, value, Duration::from_secs(60)).expect("the cache takes an entry");
}
