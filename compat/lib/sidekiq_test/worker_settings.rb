# What every worker under test is set to. Only the pace is changed, so that a run takes a minute instead of ten; what is
# sent at each step is the library's own.

require "sidekiq/launcher"

module WorkerSettings
  # Heartbeats, and looks at the scheduled and the cron jobs, in seconds between two.
  BEAT_SECONDS = 2
  POLL_SECONDS = 1

  # Gives a constant of the library another value.
  def self.pace(owner, name, seconds)
    owner.send(:remove_const, name)
    owner.const_set(name, seconds)
  end

  pace(Sidekiq::Launcher, :BEAT_PAUSE, BEAT_SECONDS)
end
