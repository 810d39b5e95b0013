mod startup;
mod tidy;
