//! x
pub fn example() -> String {
    String::new()
}
pub fn example_service() -> String {
    String::new()
}
