//! Logs without end.

use log::info;
use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebResult, invoke};
use momento_functions_host_log::{LogConfiguration, LogDestination, configure_logs};

invoke!(log_flood);
fn log_flood(_: Data) -> WebResult<()> {
    configure_logs([LogConfiguration::new(LogDestination::topic("log-flood"))])?;
    loop {
        info!("water");
    }
}
