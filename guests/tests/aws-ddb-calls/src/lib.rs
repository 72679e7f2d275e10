//! Every call of `momento:aws-ddb`, with all that it can say: `{"do": "put", "who": …, "table": "t", "item": {…}}`
//! and `{"do": "get", "who": …, "table": "t", "key": [["id", "s", "1"]]}`, items as DynamoDB's typed JSON.
//!
//! `"who"` is `{"region": "us-east-1", "keys": [id, secret]}`, or `"role": arn` instead of `"keys"`. A provider that is
//! refused answers `{"refused": "…"}`, a call that fails `{"error": [case, "…"]}`.
//! `/aws-ddb-calls/body?table=…&region=…` puts the item in its body, which this function never reads.

use momento_functions_aws_ddb::wit::momento::aws_ddb::aws_ddb::{
    Capacity, Client, Conditional, ConsumedCapacity, DdbError, GetItemRequest, Item, KeyAttribute,
    KeyValue, PutItemRequest, ReturnConsumedCapacity, ReturnValues,
};
use momento_functions_aws_ddb::{
    AuthError, Authorization, Credentials, CredentialsProvider, IamRole, provider,
};
use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Who {
    region: String,
    keys: Option<(String, String)>,
    role: Option<String>,
}

fn credentials(who: Who) -> Result<CredentialsProvider, Value> {
    let authorization = match (who.keys, who.role) {
        (Some((access_key_id, secret_access_key)), _) => Authorization::Hardcoded(Credentials {
            access_key_id,
            secret_access_key,
        }),
        (None, role) => Authorization::Federated(IamRole {
            role_arn: role.unwrap_or_default(),
        }),
    };
    provider(&authorization, &who.region).map_err(|error| match error {
        AuthError::Unauthorized(text) => json!({ "refused": text }),
    })
}

#[derive(Deserialize)]
struct Condition {
    expression: String,
    names: Option<Vec<(String, String)>>,
    values: Option<Value>,
}

#[derive(Deserialize)]
struct Order {
    r#do: String,
    who: Who,
    table: String,
    #[serde(default)]
    item: Value,
    text: Option<String>,
    #[serde(default)]
    old: bool,
    #[serde(default)]
    capacity: String,
    condition: Option<Condition>,
    #[serde(default)]
    key: Vec<(String, String, String)>,
    #[serde(default)]
    consistent: bool,
    projection: Option<String>,
    names: Option<Vec<(String, String)>>,
}

fn capacity_of(word: &str) -> ReturnConsumedCapacity {
    match word {
        "total" => ReturnConsumedCapacity::Total,
        "indexes" => ReturnConsumedCapacity::Indexes,
        _ => ReturnConsumedCapacity::None,
    }
}

fn stored(text: String) -> Item {
    Item::Json(Data::from(text).into())
}

fn put(client: &Client, order: Order) -> Value {
    let text = order.text.unwrap_or_else(|| order.item.to_string());
    let answer = client.put_item(PutItemRequest {
        table_name: order.table,
        item: stored(text),
        return_values: if order.old {
            ReturnValues::AllOld
        } else {
            ReturnValues::None
        },
        return_consumed_capacity: capacity_of(&order.capacity),
        condition: order.condition.map(|condition| Conditional {
            expression: condition.expression,
            expression_attribute_names: condition.names,
            expression_attribute_values: condition.values.map(|values| stored(values.to_string())),
        }),
    });
    match answer {
        Ok(output) => said(output.attributes, output.consumed_capacity),
        Err(error) => failed(error),
    }
}

fn get(client: &Client, order: Order) -> Value {
    let key = order
        .key
        .into_iter()
        .map(|(name, kind, text)| KeyAttribute {
            name,
            value: match kind.as_str() {
                "n" => KeyValue::N(text),
                "b" => KeyValue::B(text),
                _ => KeyValue::S(text),
            },
        });
    let answer = client.get_item(&GetItemRequest {
        table_name: order.table,
        key: key.collect(),
        consistent_read: order.consistent,
        return_consumed_capacity: capacity_of(&order.capacity),
        projection_expression: order.projection,
        expression_attribute_names: order.names,
    });
    match answer {
        Ok(output) => said(output.item, output.consumed_capacity),
        Err(error) => failed(error),
    }
}

fn said(item: Option<Item>, capacity: Option<ConsumedCapacity>) -> Value {
    let item: Value = match item {
        Some(Item::Json(data)) => {
            serde_json::from_slice(&Data::from(data).into_bytes()).expect("an item is JSON")
        }
        None => Value::Null,
    };
    json!({ "item": item, "capacity": capacity.map(consumed) })
}

fn consumed(found: ConsumedCapacity) -> Value {
    let indexes = |found: Option<Vec<(String, Capacity)>>| {
        found.map(|found| {
            found
                .into_iter()
                .map(|(name, units)| json!([name, units_of(units)]))
                .collect::<Vec<_>>()
        })
    };
    json!({
        "table_name": found.table_name,
        "units": [found.capacity_units, found.read_capacity_units, found.write_capacity_units],
        "table": found.table.map(units_of),
        "local": indexes(found.local_secondary_indexes),
        "global": indexes(found.global_secondary_indexes),
    })
}

fn units_of(found: Capacity) -> Value {
    json!([
        found.capacity_units,
        found.read_capacity_units,
        found.write_capacity_units
    ])
}

fn failed(error: DdbError) -> Value {
    match error {
        DdbError::Unauthorized(text) => json!({ "error": ["unauthorized", text] }),
        DdbError::Malformed(text) => json!({ "error": ["malformed", text] }),
        DdbError::Other(text) => json!({ "error": ["other", text] }),
    }
}

fn put_body(body: Data) -> Value {
    let request = WebEnvironment::load();
    let asked = |name: &str| {
        request
            .query_parameters()
            .get(name)
            .cloned()
            .unwrap_or_default()
    };
    let who = Who {
        region: asked("region"),
        keys: Some((asked("id"), asked("secret"))),
        role: None,
    };
    let credentials = match credentials(who) {
        Ok(credentials) => credentials,
        Err(refused) => return refused,
    };
    let answer = Client::new(&credentials).put_item(PutItemRequest {
        table_name: asked("table"),
        item: Item::Json(body.into()),
        return_values: ReturnValues::None,
        return_consumed_capacity: ReturnConsumedCapacity::None,
        condition: None,
    });
    match answer {
        Ok(output) => said(output.attributes, output.consumed_capacity),
        Err(error) => failed(error),
    }
}

invoke!(aws_ddb_calls);
fn aws_ddb_calls(body: Data) -> WebResult<Value> {
    if WebEnvironment::load().http_path() == "body" {
        return Ok(put_body(body));
    }
    let mut order: Order = serde_json::from_slice(&body.into_bytes())?;
    let who = std::mem::replace(
        &mut order.who,
        Who {
            region: String::new(),
            keys: None,
            role: None,
        },
    );
    let client = match credentials(who) {
        Ok(credentials) => Client::new(&credentials),
        Err(refused) => return Ok(refused),
    };
    Ok(match order.r#do.as_str() {
        "put" => put(&client, order),
        _ => get(&client, order),
    })
}
