# What a Sidekiq 6.4 worker under test loads: the jobs, sidekiq-cron, and GitLab's fetcher where it is asked for.

require "sidekiq"
require "sidekiq-cron"
require_relative "../lib/sidekiq_test/jobs"
require_relative "../lib/sidekiq_test/rule_jobs"
require_relative "../lib/sidekiq_test/worker_settings"

# Sidekiq 6.4 is older than what redis-rb 4.8 warns of at every SADD.
Redis.silence_deprecations = true

Sidekiq.configure_server do |config|
  config.logger.level = Logger::WARN
  config.options[:poll_interval_average] = WorkerSettings::POLL_SECONDS
  config.options[:cron_poll_interval] = WorkerSettings::POLL_SECONDS

  if (mode = ENV["RELIABLE_FETCH"])
    require "sidekiq-reliable-fetch"
    # The dead are found after a minute, and looked for once an hour; here after seconds.
    WorkerSettings.pace(Sidekiq::BaseReliableFetch, :HEARTBEAT_INTERVAL, 1)
    WorkerSettings.pace(Sidekiq::BaseReliableFetch, :HEARTBEAT_LIFESPAN, 4)
    WorkerSettings.pace(Sidekiq::ReliableFetch, :RELIABLE_FETCH_IDLE_TIMEOUT, 1)
    config.options[:cleanup_interval] = 1
    config.options[:lease_interval] = 1
    config.options[:semi_reliable_fetch] = mode == "semi"
    Sidekiq::ReliableFetch.setup_reliable_fetch!(config)
  end
end
