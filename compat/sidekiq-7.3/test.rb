# Sidekiq 7.3 with sidekiq-cron, as the Gemfile beside this file names them; started by `run`.

require_relative "../lib/sidekiq_test"

SidekiqTest.run(
  "sidekiq-7.3",
  app: File.join(__dir__, "app.rb"),
  parts: %i[server queue sets crash bulk payload order timed interrupt iterate web],
  rules: %i[blackhole flight pausing limits handback fulldisk activejob unlock],
  gems: %w[sidekiq sidekiq-cron sidekiq-unique-jobs activejob redis-client rack]
)
