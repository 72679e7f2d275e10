//! Makes the one call of `cache-list` that its JSON body names, and answers what came of it:
//!
//! ```json
//! {"call": "list-push-back", "list": "l", "value": "a", "ttl_ms": 60000, "refresh": true, "truncate": 10}
//! {"call": "list-fetch", "list": "l", "start": -2}
//! {"call": "list-erase", "list": "l", "ranges": [[0, 2], [5, 1]]}
//! ```
//!
//! Answers are `{"length": 3}`, `{"value": "a", "length": 2}`, `{"values": ["a", "b"]}`, `{"missing": true}` and
//! `{"error": "..."}`.

use std::error::Error;
use std::time::Duration;

use momento_functions_bytes::encoding::Json;
use momento_functions_cache_list::{
    self as cache, CollectionTtl, EndIndex, EraseRange, EraseResult, LengthResult, ListRange,
    PopResult, RemoveResult, RetainResult, StartIndex,
};
use momento_functions_guest_web::invoke;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    call: String,
    list: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    ttl_ms: u64,
    #[serde(default)]
    refresh: bool,
    #[serde(default)]
    truncate: Option<u32>,
    start: Option<i32>,
    end: Option<i32>,
    ranges: Option<Vec<(u32, u32)>>,
}

impl Request {
    fn ttl(&self) -> CollectionTtl {
        CollectionTtl::new(Duration::from_millis(self.ttl_ms), self.refresh)
    }

    fn start(&self) -> StartIndex {
        self.start.map_or(StartIndex::Unbounded, StartIndex::Inclusive)
    }

    fn end(&self) -> EndIndex {
        self.end.map_or(EndIndex::Unbounded, EndIndex::Exclusive)
    }

    fn erased(&self) -> EraseRange {
        let Some(ranges) = &self.ranges else {
            return EraseRange::All;
        };
        let range = |&(begin_index, count)| ListRange { begin_index, count };
        EraseRange::Ranges(ranges.iter().map(range).collect())
    }
}

fn length(length: u32) -> Value {
    json!({ "length": length })
}

fn missing() -> Value {
    json!({ "missing": true })
}

fn popped(result: PopResult<String>) -> Value {
    match result {
        PopResult::Found { value, list_length } => json!({ "value": value, "length": list_length }),
        PopResult::Missing => missing(),
    }
}

fn perform(request: Request) -> Result<Value, Box<dyn Error>> {
    let (ttl, truncate) = (request.ttl(), request.truncate);
    let (start, end, erased) = (request.start(), request.end(), request.erased());
    let Request { call, list, value, values, .. } = request;
    Ok(match call.as_str() {
        "list-push-front" => length(cache::list_push_front(list, value, ttl, truncate)?),
        "list-push-back" => length(cache::list_push_back(list, value, ttl, truncate)?),
        "list-pop-front" => popped(cache::list_pop_front(list)?),
        "list-pop-back" => popped(cache::list_pop_back(list)?),
        "list-erase" => match cache::list_erase(list, erased)? {
            EraseResult::Found(left) => length(left),
            EraseResult::Missing => missing(),
        },
        "list-remove" => match cache::list_remove(list, value)? {
            RemoveResult::Found(left) => length(left),
            RemoveResult::Missing => missing(),
        },
        "list-fetch" => match cache::list_fetch::<String>(list, start, end)? {
            Some(found) => json!({ "values": found.collect::<Result<Vec<_>, _>>()? }),
            None => missing(),
        },
        "list-length" => match cache::list_length(list)? {
            LengthResult::Found(found) => length(found),
            LengthResult::Missing => missing(),
        },
        "list-concatenate-front" => {
            length(cache::list_concatenate_front(list, values, ttl, truncate)?)
        }
        "list-concatenate-back" => {
            length(cache::list_concatenate_back(list, values, ttl, truncate)?)
        }
        "list-retain" => match cache::list_retain(list, start, end, ttl)? {
            RetainResult::Found(left) => length(left),
            RetainResult::Missing => missing(),
        },
        unknown => return Err(format!("there is no call {unknown}").into()),
    })
}

invoke!(cache_lists);
fn cache_lists(Json(request): Json<Request>) -> Value {
    perform(request).unwrap_or_else(|error| json!({ "error": format!("{error:?}") }))
}
