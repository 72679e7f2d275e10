//! Gives a player a token for five minutes: to read what begins with their own name in the cache, and to follow and
//! write to the topic of their room. `{"player": "ada", "room": "lobby"}` answers `{"token": …, "endpoint": …,
//! "valid_until": …}`.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResult, invoke};
use momento_functions_token::{
    CachePermissions, Permissions, TopicPermissions, generate_disposable_token,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    player: String,
    room: String,
}

invoke!(token_vendor);
fn token_vendor(Json(Request { player, room }): Json<Request>) -> WebResult<Value> {
    let permissions = Permissions::new()
        .with_cache(CachePermissions::read_only().with_key_prefix(format!("{player}/")))
        .with_topic(TopicPermissions::read_write().with_topic(room));
    let made = generate_disposable_token(300, permissions, Some(player))?;
    Ok(json!({ "token": made.api_key, "endpoint": made.endpoint, "valid_until": made.valid_until }))
}
