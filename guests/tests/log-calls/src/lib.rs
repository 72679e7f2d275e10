//! Does what the request's body lists, and answers `null` or the error of each `configure…`:
//! `configure-logs` and `info` go through the crate, `configure` and `log` straight to the host.
//! `[{"configure":[{"topic":"audit","level":"debug","system":"off"}]},{"log":["warn","hi",1]},{"print":"x"}]`.

use log::{LevelFilter, info};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResult, invoke};
use momento_functions_host_log::wit::momento::log::logging::{
    CloudwatchDestination, ConfigureLoggingInput, Destination, LogConfigurationError, LogLevel,
    TopicDestination, configure_logging, log,
};
use momento_functions_host_log::{LogConfiguration, LogDestination, configure_logs};
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

fn level(name: &str) -> LogLevel {
    match name {
        "off" => LogLevel::Off,
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Info,
    }
}

fn input(to: To) -> ConfigureLoggingInput {
    ConfigureLoggingInput {
        log_level: level(to.level.as_deref().unwrap_or("info")),
        system_logs_level: level(to.system.as_deref().unwrap_or("info")),
        destination: match to.topic {
            Some(topic_name) => Destination::Topic(TopicDestination { topic_name }),
            None => Destination::Cloudwatch(CloudwatchDestination {
                iam_role_arn: to.role,
                log_group_name: to.group,
            }),
        },
    }
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
            let made: Vec<_> = inputs.into_iter().map(configuration).collect::<WebResult<_>>()?;
            return Ok(Some(match configure_logs(made) {
                Ok(()) => Value::Null,
                Err(error) => json!(error.to_string()),
            }));
        }
        Step::Configure(inputs) => {
            let made: Vec<_> = inputs.into_iter().map(input).collect();
            return Ok(Some(match configure_logging(&made) {
                Ok(()) => Value::Null,
                Err(LogConfigurationError::Auth(text)) => json!(text),
            }));
        }
        Step::Info(text) => info!("{text}"),
        Step::Log(name, text, times) => {
            for _ in 0..times {
                log(&text, level(&name));
            }
        }
        Step::Print(text) => println!("{text}"),
        Step::Eprint(text) => eprintln!("{text}"),
        Step::Panic(text) => panic!("{text}"),
    }
    Ok(None)
}

invoke!(log_calls);
fn log_calls(Json(steps): Json<Vec<Step>>) -> WebResult<Value> {
    let mut answers = Vec::new();
    for step in steps {
        answers.extend(take(step)?);
    }
    Ok(Value::Array(answers))
}
