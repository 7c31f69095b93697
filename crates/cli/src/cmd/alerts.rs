//! `kinglet alerts`.

use kinglet_server::alerts::alert_json;
use serde_json::{Value, json};

use super::device::store_failed;
use super::people::config;
use crate::args::AlertsArgs;
use crate::failure::Result;
use crate::host;
use crate::term::{Align, Out, Table, when};

pub(crate) fn run(args: &AlertsArgs) -> Result {
    let mut out = Out::new(args.common.json);
    let config = config(&args.common, false)?;
    let runtime = host::runtime()?;
    let core = host::core(&runtime, config)?;
    let rows = runtime.block_on(core.store.alerts(i64::MAX, args.limit, !args.all)).map_err(store_failed)?;
    let alerts: Vec<Value> = rows.iter().map(|row| alert_json(row, row.step())).collect();
    out.result(&json!({ "alerts": alerts }))?;
    let columns = [
        ("device", Align::Left),
        ("what", Align::Left),
        ("rule", Align::Left),
        ("raised", Align::Left),
        ("cleared", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for row in &rows {
        let cleared = row.t_cleared.map_or_else(String::new, when);
        let (alert, device) = (&row.alert, row.device_id.clone());
        table.row([device, alert.said.clone(), alert.rule.clone(), when(alert.t_raised), cleared]);
    }
    match (rows.is_empty(), args.all) {
        (false, _) => out.table(&table)?,
        (true, false) => out.line("nothing is wrong that a rule looks for")?,
        (true, true) => out.line("nothing was wrong so far that a rule looks for")?,
    }
    runtime.block_on(core.store.close()).map_err(store_failed)
}
