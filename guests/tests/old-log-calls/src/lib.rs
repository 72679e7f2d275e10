//! `log-calls` on the older generation of the crates.

use log::{Level, LevelFilter, info};
use momento_functions::{WebResult, post};
use momento_functions_host::encoding::Json;
use momento_functions_host::logging::{
    LogConfiguration, LogDestination, configure_host_logging, log,
};
use momento_functions_log::configure_logs;
use momento_functions_wit::host::momento::host::logging::{LogLevel, log as log_raw};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    ConfigureLogs(Vec<To>),
    Info(String),
    Configure(Vec<To>),
    Log(String, String, u32),
    Print(String),
    Eprint(String),
    Panic(String),
}

#[derive(Deserialize)]
struct To {
    level: Option<String>,
    system: Option<String>,
    topic: Option<String>,
    #[serde(default)]
    role: String,
    #[serde(default)]
    group: String,
}

fn configurations(inputs: Vec<To>) -> WebResult<Vec<LogConfiguration>> {
    inputs.into_iter().map(configuration).collect()
}

fn configuration(to: To) -> WebResult<LogConfiguration> {
    let mut made = LogConfiguration::new(match to.topic {
        Some(topic) => LogDestination::topic(topic),
        None => LogDestination::cloudwatch(to.role, to.group),
    });
    if let Some(level) = to.level {
        made = made.with_log_level(level.parse::<LevelFilter>()?);
    }
    if let Some(level) = to.system {
        made = made.with_system_log_level(level.parse::<LevelFilter>()?);
    }
    Ok(made)
}

fn take(step: Step) -> WebResult<Option<Value>> {
    match step {
        Step::ConfigureLogs(inputs) => {
            return Ok(Some(match configure_logs(configurations(inputs)?) {
                Ok(()) => Value::Null,
                Err(error) => json!(error.to_string()),
            }));
        }
        Step::Configure(inputs) => {
            return Ok(Some(match configure_host_logging(configurations(inputs)?) {
                Ok(()) => Value::Null,
                Err(error) => json!(error.to_string()),
            }));
        }
        Step::Info(text) => info!("{text}"),
        Step::Log(name, text, times) => {
            for _ in 0..times {
                match name.parse::<Level>() {
                    Ok(level) => log(&text, level),
                    Err(_) => log_raw(&text, LogLevel::Off),
                }
            }
        }
        Step::Print(text) => println!("{text}"),
        Step::Eprint(text) => eprintln!("{text}"),
        Step::Panic(text) => panic!("{text}"),
    }
    Ok(None)
}

post!(old_log_calls);
fn old_log_calls(Json(steps): Json<Vec<Step>>) -> WebResult<Value> {
    let mut answers = Vec::new();
    for step in steps {
        answers.extend(take(step)?);
    }
    Ok(Value::Array(answers))
}
