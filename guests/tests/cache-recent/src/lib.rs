//! Keeps the last ten texts that it was sent, for an hour after the last one, and answers them, newest first.

use std::error::Error;
use std::time::Duration;

use momento_functions_cache as cache;
use momento_functions_cache_list::{CollectionTtl, list_fetch, list_push_front};
use momento_functions_guest_web::invoke;
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

fn remember(text: String) -> Result<Value, Box<dyn Error>> {
    let before = cache::get::<String>("latest")?;
    cache::set("latest", text.clone(), HOUR)?;
    list_push_front("recent", text, CollectionTtl::of(HOUR), Some(10))?;
    let recent = list_fetch::<String>("recent", 0, 10)?.into_iter().flatten();
    Ok(json!({ "before": before, "recent": recent.collect::<Result<Vec<_>, _>>()? }))
}

invoke!(recent);
fn recent(text: String) -> Value {
    remember(text).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}
