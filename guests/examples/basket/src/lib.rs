//! A basket for each customer, who is the key of the call (the header `Guesthouse-Key`). Calls of one customer run one at a
//! time, in order, so that nothing is lost between reading and writing; those of others do not wait for them.
//!
//! ```json
//! {"add": "tea", "count": 2}
//! {"remove": "tea"}
//! "empty"
//! "show"
//! ```

use std::collections::BTreeMap;

use guesthouse_guest::durable::{self, Answer, Failure, state};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Empty,
    Show,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Order {
    Add { add: String, count: u32 },
    Remove { remove: String },
    Word(Word),
}

type Basket = BTreeMap<String, u32>;

invoke!(basket);
fn basket(Json(order): Json<Order>) -> Answer<Json<Basket>> {
    change(order).map(Json).into()
}

fn change(order: Order) -> durable::Result<Basket> {
    let mut items: Basket = state::get("items")?.unwrap_or_default();
    match order {
        Order::Add { add, count } => *items.entry(add).or_default() += count,
        Order::Remove { remove } => {
            let gone = items.remove(&remove);
            gone.ok_or_else(|| Failure::new(format!("there is no {remove}")).with_code(404))?;
        }
        Order::Word(Word::Empty) => items.clear(),
        Order::Word(Word::Show) => return Ok(items),
    }
    state::set("items", &items)?;
    Ok(items)
}
