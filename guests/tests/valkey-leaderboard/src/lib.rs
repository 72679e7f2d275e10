//! Keeps scores in a sorted set: `{"player": "Ada", "points": 7}` adds points, and the answer is the best three.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResult, invoke};
use momento_functions_valkey::{Command, Value, get_managed_cluster_client};
use serde::Deserialize;

#[derive(Deserialize)]
struct Score {
    player: String,
    points: i64,
}

invoke!(leaderboard);
fn leaderboard(Json(score): Json<Score>) -> WebResult<Json<Vec<String>>> {
    let cluster = get_managed_cluster_client("main");
    let mut add = Command::builder("ZINCRBY");
    add.argument("scores")
        .argument(score.points.to_string())
        .argument(score.player);
    cluster.command(add)?;

    let mut best = Command::builder("ZREVRANGE");
    best.argument("scores").argument("0").argument("2");
    let Value::Bulk(players) = cluster.command(best)? else {
        return Ok(Json(Vec::new()));
    };
    let names = players.filter_map(|player| match player {
        Value::Data(name) => Some(String::from_utf8_lossy(&name.into_bytes()).into_owned()),
        _ => None,
    });
    Ok(Json(names.collect()))
}
