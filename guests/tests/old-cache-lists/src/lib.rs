//! `cache-lists` on the older generation of the crates. Their wrappers know three of the eleven calls; the others
//! go straight to the bindings.

use std::error::Error;
use std::time::Duration;

use momento_functions::post;
use momento_functions_host::cache::{self, CollectionTtl, EndIndex, StartIndex};
use momento_functions_host::encoding::Json;
use momento_functions_wit::host::momento::functions::cache_list::{
    self, EraseRange, EraseResponse, LengthResponse, ListRange, ListRanges, PopResponse,
    RemoveRange, RemoveResponse, RetainResponse,
};
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
        EraseRange::Ranges(ListRanges { ranges: ranges.iter().map(range).collect() })
    }
}

fn length(length: u32) -> Value {
    json!({ "length": length })
}

fn missing() -> Value {
    json!({ "missing": true })
}

fn popped(response: PopResponse) -> Result<Value, Box<dyn Error>> {
    Ok(match response {
        PopResponse::Found(found) => {
            json!({ "value": String::from_utf8(found.value)?, "length": found.list_length })
        }
        PopResponse::Missing => missing(),
    })
}

fn perform(request: Request) -> Result<Value, Box<dyn Error>> {
    let (start, end) = (request.start(), request.end());
    let Request { call, list, value, values, ttl_ms, refresh, truncate, .. } = &request;
    let (ttl, name, size) = (request.ttl(), list.as_bytes(), truncate.unwrap_or(0));
    let values = || values.iter().map(|value| value.clone().into_bytes()).collect::<Vec<_>>();
    Ok(match call.as_str() {
        "list-push-front" => length(cache::list_push_front(list, value.clone(), ttl, *truncate)?),
        "list-push-back" => length(cache::list_push_back(list, value.clone(), ttl, *truncate)?),
        "list-pop-front" => popped(cache_list::list_pop_front(name)?)?,
        "list-pop-back" => popped(cache_list::list_pop_back(name)?)?,
        "list-erase" => match cache_list::list_erase(name, &request.erased())? {
            EraseResponse::Found(left) => length(left),
            EraseResponse::Missing => missing(),
        },
        "list-remove" => {
            let range = RemoveRange::AllElementsWithValue(value.clone().into_bytes());
            match cache_list::list_remove(name, &range)? {
                RemoveResponse::Found(left) => length(left),
                RemoveResponse::Missing => missing(),
            }
        }
        "list-fetch" => match cache::list_fetch::<Vec<u8>>(list, start, end)? {
            Some(found) => {
                let found = found.collect::<Result<Vec<_>, _>>()?.into_iter().map(String::from_utf8);
                json!({ "values": found.collect::<Result<Vec<_>, _>>()? })
            }
            None => missing(),
        },
        "list-length" => match cache_list::list_length(name)? {
            LengthResponse::Found(found) => length(found),
            LengthResponse::Missing => missing(),
        },
        "list-concatenate-front" => {
            length(cache_list::list_concatenate_front(name, &values(), *ttl_ms, *refresh, size)?)
        }
        "list-concatenate-back" => {
            length(cache_list::list_concatenate_back(name, &values(), *ttl_ms, *refresh, size)?)
        }
        "list-retain" => {
            match cache_list::list_retain(name, start.into(), end.into(), *ttl_ms, *refresh)? {
                RetainResponse::Found(left) => length(left),
                RetainResponse::Missing => missing(),
            }
        }
        unknown => return Err(format!("there is no call {unknown}").into()),
    })
}

post!(cache_lists);
fn cache_lists(Json(request): Json<Request>) -> Json<Value> {
    Json(perform(request).unwrap_or_else(|error| json!({ "error": format!("{error:?}") })))
}
