# GitLab's reliable fetch under rules: what a killed worker leaves in its working list is put back by others, what a stopped
# one hands back comes by LPUSH, not at the end that workers pop from. Both modes at once.

class SidekiqTest
  RESCUED = {long: 4, bad_long: 2, reports: 2}.freeze
  RESCUED_CLASSES = {long: ["ExportJob", nil], bad_long: ["ImportJob", 123], reports: ["ReportJob", nil]}.freeze

  def rescued
    rules_part("rescued: GitLab's fetcher puts back what the dead left, under a blackhole and a pause") { rescue_all("rescued") }
  end

  def rescued_full
    rules_part("rescued_full: the same while the disk is nearly full") { rescue_all("rescued_full") { |under_way| rules.with_full_disk(&under_way) } }
  end

  private

  def rescue_all(part)
    @part = part
    @queues = RELIABLE_MODES.keys.to_h { |mode| [mode, "#{part}_#{mode}"] }
    @left = RESCUED.keys.to_h { |kind| [kind, @queues.transform_values { |queue| push_rescued(kind, queue) }] }
    killed = start_rescuers("killed")
    figures.reaches("long jobs begun", RELIABLE_MODES.size * RESCUED.values.sum) { begun(part).size }
    add_blackhole(part)
    rules.say("JOB.PAUSE #{part}_* CLASS ReportJob")
    killed.each { |worker| kill_worker(worker) }
    figures.equal("jobs in working lists after kill -9", working_lists.values.sum(&:size), RELIABLE_MODES.size * RESCUED.values.sum)
    rescuers = start_rescuers("rescuers", "-t", STOP_SECONDS)
    under_way = -> { check_rescued(rescuers) }
    block_given? ? yield(under_way) : under_way.call
    finish_rescued
  end

  def push_rescued(kind, queue)
    klass, customer = RESCUED_CLASSES[kind]
    push_orders(klass, queue, order_for(@part, how: "hold", **{customer_id: customer}.compact), RESCUED[kind])
  end

  def start_rescuers(name, *options)
    @queues.map { |mode, queue| start_worker("#{name}-#{mode}", "-c", RESCUED.values.sum.to_s, "-q", queue, *options, environment: {"RELIABLE_FETCH" => mode}) }
  end

  def left(*kinds)
    @left.values_at(*kinds).flat_map(&:values).flatten
  end

  def check_rescued(rescuers)
    modes = RELIABLE_MODES.size
    figures.reaches("begun again by others", {2 => modes * RESCUED[:long]}) { begun(@part).tally.slice(*left(:long)).values.tally }
    figures.reaches("of the paused class back in the queue, bad ones quarantined", [modes * RESCUED[:reports], [modes * RESCUED[:bad_long]]]) { [sizes_of_queues.sum, held_back("quarantined")] }
    figures.equal("INFO: by place", held_back("matched_in"), [@queues.values.to_h { |queue| ["queue:#{queue}", RESCUED[:bad_long]] }])
    figures.equal("bad and paused ones begun again", begun(@part).tally.values_at(*left(:bad_long, :reports)).tally, {1 => modes * (RESCUED[:bad_long] + RESCUED[:reports])})
    stop_workers(*rescuers)
    figures.equal("in the queues after TERM", sizes_of_queues, [RESCUED[:long] + RESCUED[:reports]] * modes)
    figures.equal("working lists left", working_lists.size, 0)
  end

  def sizes_of_queues
    @queues.values.map { |queue| Sidekiq::Queue.new(queue).size }
  end

  def finish_rescued
    Deeds.open_gate("#{@part}.released")
    rules.say("JOB.RESUME #{@part}_* CLASS ReportJob")
    end_blackhole
    restore
    last = start_rescuers("last")
    carried_out(@part, left(*RESCUED.keys), what: "all jobs finished")
    figures.equal("how often the long, the bad and the paused were begun", [:long, :bad_long, :reports].map { |kind| begun(@part).tally.values_at(*left(kind)).uniq }, [[3], [2], [2]])
    figures.reaches("working lists left", 0) { working_lists.size }
    stop_workers(*last)
    figures.equal("jobs given up as interrupted too often", wire.call("ZCARD", "interrupted"), 0)
  end
end
