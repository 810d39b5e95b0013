# Sidekiq 6.4 as Debian bookworm packages it, with sidekiq-cron and GitLab's reliable fetch; started by `run`.

require_relative "../lib/sidekiq_test"

SidekiqTest.run(
  "sidekiq-6.4",
  app: File.join(__dir__, "app.rb"),
  parts: %i[server queue sets crash bulk payload order timed interrupt reliable web],
  rules: %i[blackhole flight pausing limits handback fulldisk rescued rescued_full activejob],
  gems: %w[sidekiq sidekiq-cron gitlab-sidekiq-fetcher activejob redis rack]
)
