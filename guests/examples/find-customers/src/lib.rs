//! Finds the customers who have to pay, of whom there may be any number, and has the function `charge` charge each:
//!
//! ```json
//! {"month": "2026-05"}
//! ```
//!
//! `GET CUSTOMERS_API?month=…` (an environment variable) has to answer `[{"customer": "ada", "cents": 1200}, …]`.
//! The answer says who was charged, in that order, and who was not, and why.

use std::env;

use guesthouse_guest::durable::{self, Answer, Error, call, call_all, gather};
use momento_functions_bytes::encoding::{Extract, Json};
use momento_functions_guest_web::invoke;
use momento_functions_http::{self as http, Request};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    month: String,
}

#[derive(Deserialize, Serialize)]
struct Charge {
    customer: String,
    cents: u64,
}

#[derive(Deserialize)]
struct Receipt {
    receipt: String,
}

#[derive(Default, Serialize)]
struct Report {
    charged: Vec<(String, String)>,
    failed: Vec<(String, String)>,
}

invoke!(find_customers);
fn find_customers(Json(order): Json<Order>) -> Answer<Json<Report>> {
    charge_all(&order.month).map(Json).into()
}

fn charge_all(month: &str) -> durable::Result<Report> {
    let charges = find(month)?;
    // With its customer as the key, two months of one customer are never charged at once.
    let calls = charges
        .iter()
        .map(|charge| call::<Receipt>("charge", charge).key(&charge.customer));
    let receipts = gather(call_all(calls)?).wait_for_all().each();
    let mut report = Report::default();
    for (charge, receipt) in charges.into_iter().zip(receipts) {
        match receipt {
            Some(Ok(Receipt { receipt })) => report.charged.push((charge.customer, receipt)),
            // Its retries are behind it: whatever is left is final.
            Some(Err(failure)) if failure.is_cancelled() => Err(failure)?,
            Some(Err(failure)) => report.failed.push((charge.customer, failure.message)),
            None => unreachable!("all were waited for"),
        }
    }
    Ok(report)
}

fn find(month: &str) -> durable::Result<Vec<Charge>> {
    let api = env::var("CUSTOMERS_API").map_err(|_| Error::terminal("CUSTOMERS_API is not set"))?;
    let response = http::invoke(Request::new(format!("{api}?month={month}"), "GET"))?;
    match response.status {
        200..300 => Ok(Json::extract(response.body)?.0),
        status => Err(Error::temporary(format!("{api} answered {status}"))),
    }
}
