//! How many requests a service takes, and how many at a time, out of the checked tree.
//!
//! Promises: a burst comes back within a day; what would have no effect is said.
//! Must not know: routes, other services.

use std::num::NonZeroU32;
use std::time::Duration;

use super::build::{count, flag, text, time};
use super::message::Report;
use super::settings::{Concurrency, Fallback, Rate, RateBy};
use super::shape::Shape;
use super::tree::{Branch, Section};
use super::value::Value;

/// In which the whole burst comes back, at the latest.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Those that are written in this table itself; nothing is inherited. `path`: of the table.
pub(super) fn rates(section: &Section<'_>, path: &str, report: &mut Report) -> Vec<Rate> {
    let shape = section.shape.field("rate").and_then(|rate| rate.each.as_deref());
    let shape: &'static Shape = shape.unwrap_or(section.shape);
    let tables = section.own("rate").map_or(&[][..], Branch::list).iter().enumerate();
    let sound = tables.filter(|(_, table)| table.table().is_some());
    sound
        .filter_map(|(index, table)| {
            let section = Section { shape, table: Some(table), above: None };
            rate(&section, &format!("{path}.rate[{index}]"), report)
        })
        .collect()
}

/// `None`: something in it was refused.
fn rate(section: &Section<'_>, path: &str, report: &mut Report) -> Option<Rate> {
    let (requests, per) = section.one("requests", |value| match value {
        Value::Rate(count, per) => Some((*count, *per)),
        _ => None,
    })?;
    let by = section.one("by", |value| match value {
        Value::RateBy(by) => Some(by.clone()),
        _ => None,
    });
    let written = section.own("burst");
    let burst = match written {
        Some(_) => count(section, "burst").and_then(|burst| u32::try_from(burst).ok()),
        None => Some(requests.get()),
    };
    let burst = burst.and_then(NonZeroU32::new)?;
    let most = LONGEST.as_nanos() * u128::from(requests.get()) / per.as_nanos().max(1);
    if let (Some(written), true) = (written, u128::from(burst.get()) > most) {
        report.error(
            written.mark,
            format!("{path}.burst"),
            format!("found {burst}, which takes more than a day to come back"),
            format!("allowed with these requests: up to {most}"),
            "lower it, or let more requests through",
        );
    }
    Some(Rate { count: requests, per, burst, by: by.unwrap_or(RateBy::All) })
}

/// Of the table itself, or the one above it as a whole.
pub(super) fn fallback(section: &Section<'_>) -> Option<Fallback> {
    let own = section.below("fallback", None);
    if !own.is_sound() {
        return section.above.and_then(fallback);
    }
    let answer = own.below("answer", None);
    answer.is_sound().then(|| Fallback {
        status: count(&answer, "status").and_then(|status| status.try_into().ok()).unwrap_or(503),
        content_type: answer.one("content-type", text).unwrap_or_default(),
        body: answer.one("body", text).unwrap_or_default(),
    })
}

pub(super) fn concurrency(service: &Section<'_>, path: &str, report: &mut Report) -> Concurrency {
    let section = service.below("concurrency", None);
    let number = |name| count(&section, name).and_then(|number| u32::try_from(number).ok());
    let concurrency = Concurrency {
        most: number("most"),
        per_endpoint: number("per-endpoint"),
        queue: number("queue").unwrap_or_default(),
        queue_time: time(&section, "queue-time"),
        adaptive: flag(&section, "adaptive"),
        priority: section.one("priority", text),
    };
    let idle = |name: &'static str, why: &str, remedy: &str, report: &mut Report| {
        if let Some(written) = section.own(name) {
            let key = format!("{path}.concurrency.{name}");
            report.warning(written.mark, key, format!("has no effect, because {why}"), remedy);
        }
    };
    if !concurrency.is_limited() {
        for name in ["queue", "queue-time", "priority"] {
            idle(
                name,
                "there is no limit",
                "write most = 64 or adaptive = true beside it, or remove it",
                report,
            );
        }
    } else if concurrency.queue == 0 {
        for name in ["queue-time", "priority"] {
            idle(name, "nobody waits: 'queue' is 0", "raise 'queue', or remove it", report);
        }
    }
    concurrency
}

#[cfg(test)]
mod tests {
    use super::super::{Source, Sources, parse};
    use super::*;

    const SHOP: &str = "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3000\"]\n";

    fn source(text: &str) -> Sources {
        Sources(vec![Source { name: "shop.toml".into(), text: format!("{SHOP}{text}") }])
    }

    fn errors(text: &str) -> String {
        parse(&source(text)).err().map(|errors| errors.to_string()).unwrap_or_default()
    }

    #[test]
    fn rates_are_those_of_the_service_and_beside_them_those_of_each_route() {
        let text = r#"
            [[service.shop.rate]]
            requests = "100/s"
            [[service.shop.rate]]
            requests = "20/m"
            burst = 5
            by = "field:X-Api-Key"
            [[service.shop.route]]
            path = ["/login", "/logout"]
            [[service.shop.route.rate]]
            requests = "1/10s"
            by = "address"
            [[service.shop.route]]
        "#;
        let settings = parse(&source(text)).unwrap().settings;
        let shop = &settings.services[0];
        let told = |rates: &[Rate]| -> Vec<String> {
            let told = |rate: &Rate| format!("{}/{:?} {} {:?}", rate.count, rate.per, rate.burst, rate.by);
            rates.iter().map(told).collect()
        };
        assert_eq!(told(&shop.rates), ["100/1s 100 All", "20/60s 5 Field(\"x-api-key\")"]);
        let routes: Vec<Vec<String>> = shop.routes.iter().map(|route| told(&route.rates)).collect();
        assert_eq!(routes, [vec!["1/10s 1 Address"], vec!["1/10s 1 Address"], vec![]]);
    }

    #[test]
    fn rates_of_a_service_without_routes_count_once() {
        let settings = parse(&source("[[service.shop.rate]]\nrequests = \"1/s\"\n")).unwrap().settings;
        assert_eq!((settings.services[0].rates.len(), settings.services[0].routes[0].rates.len()), (1, 0));
    }

    #[test]
    fn hostile_rates_are_refused_with_what_is_allowed() {
        for (text, said) in [
            ("[[service.shop.rate]]\n", "service.shop.rate[0].requests: missing"),
            ("[[service.shop.rate]]\nrequests = \"100/0s\"\n", "write a time after the '/'"),
            ("[[service.shop.rate]]\nrequests = \"0/s\"\n", "found '0/s'"),
            ("[[service.shop.rate]]\nrequests = 100\n", "found 100, a number"),
            ("[[service.shop.rate]]\nrequests = \"1/m\"\nburst = 1441\n", "up to 1440"),
            ("[[service.shop.rate]]\nrequests = \"1/s\"\nburst = 0\n", "write at least 1"),
            ("[[service.shop.rate]]\nrequests = \"1/s\"\nburst = 99999999999\n", "write at most 10000000"),
            ("[[service.shop.rate]]\nrequests = \"1/s\"\nby = \"field:a b\"\n", "as a field name"),
            ("[service.shop.rate]\nrequests = \"1/s\"\n", "write [[service.shop.rate]]"),
            ("[service.shop.concurrency]\nmost = 0\n", "write at least 1"),
            ("[service.shop.concurrency]\npriority = \"a b\"\n", "as a field name"),
            ("[service.shop.concurrency]\nqueue = 1000000\n", "write at most 100000"),
            ("[service.shop.concurrency]\nmax = 5\n", "it is called 'most' here"),
        ] {
            let errors = errors(text);
            assert!(errors.contains(said), "{text}: {errors}");
        }
    }

    #[test]
    fn a_fallback_is_taken_from_the_service_as_a_whole() {
        let text = r#"
            fallback.answer = { status = 200, content-type = "application/json", body = "[]" }
            deadline.field = "X-Deadline"
            [[service.shop.route]]
            path = "/own"
            fallback.answer = { body = "away" }
            [[service.shop.route]]
        "#;
        let settings = parse(&source(text)).unwrap().settings;
        let shop = &settings.services[0];
        assert_eq!(shop.deadline_field.as_deref(), Some("x-deadline"));
        let told = |fallback: &Option<Fallback>| {
            fallback.as_ref().map(|f| format!("{} {} {}", f.status, f.content_type, f.body)).unwrap()
        };
        let all: Vec<String> = shop.routes.iter().map(|route| told(&route.fallback)).collect();
        assert_eq!(all, ["503 text/plain; charset=utf-8 away", "200 application/json []"]);
    }

    #[test]
    fn a_queue_without_a_limit_has_no_effect_and_that_is_said() {
        let warnings = |text: &str| -> Vec<String> {
            parse(&source(text)).unwrap().warnings.iter().map(ToString::to_string).collect()
        };
        let said = warnings("[service.shop.concurrency]\nqueue = 5\n");
        assert!(said.len() == 1 && said[0].contains("because there is no limit"), "{said:?}");
        let said = warnings("[service.shop.concurrency]\nmost = 5\nqueue = 0\npriority = \"priority\"\n");
        assert!(said.len() == 1 && said[0].contains("nobody waits"), "{said:?}");
        assert!(
            warnings("[service.shop.concurrency]\nadaptive = true\npriority = \"x-urgency\"\n").is_empty()
        );
    }
}
