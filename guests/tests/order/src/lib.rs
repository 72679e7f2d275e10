//! The durable function of the project's README, which waits until somebody has approved an order.

use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, awakeable};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;

invoke!(order);
fn order(Json(what): Json<String>) -> Answer<Json<String>> {
    ask(&what).map(Json).into()
}

fn ask(what: &str) -> durable::Result<String> {
    let approval = awakeable::<String>();
    println!("{what}? Answer to /restate/awakeables/{}", approval.id);
    let by = approval
        .promise
        .wait_timeout(Duration::from_secs(7 * 86_400))?;
    Ok(format!("{what}, approved by {by}"))
}
